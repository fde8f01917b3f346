"""Arguments that jsonargparse carries over to another class are named."""

import json
import os

import pytest
import torch
import yaml

from tests.conftest import ROOT
from training.carried_over import given_keys
from training.cli import TrainingCLI

NIN = ROOT / "configs" / "nin.yaml"
SGD = ("--model.optimizer", "torch.optim.SGD")
OF_ADAMW = "lr 0.0005, weight_decay 0.05 of AdamW, in SGD"
OF_FASHION = "image_size 224, augment of FashionMNIST, in MNIST"  # batch_size: same default


class ParsedCLI(TrainingCLI):
    """Builds nothing."""

    def before_instantiate_classes(self) -> None:
        pass

    instantiate_classes = after_instantiate_classes = before_instantiate_classes


def kornia(name, **init_args):
    return {"class_path": f"kornia.augmentation.{name}", "init_args": init_args}


def as_json(value):
    return json.dumps(value)


THREE = [
    kornia("RandomRotation", degrees=3.0),
    kornia("RandomVerticalFlip"),
    kornia("RandomAffine", degrees=3.0, scale=[0.9, 1.1]),
]
SCHEDULE = "torch.optim.lr_scheduler"
STEP_LR = ("--model.schedule", f"{SCHEDULE}.StepLR", "--model.schedule.step_size", "2")
CARRIED = {
    "nothing": ([], []),
    "another value": (["--model.optimizer.lr", "0.1", "--trainer.max_epochs", "2"], []),
    "the same class": (["--model.optimizer", "torch.optim.AdamW"], []),
    "another optimizer": (SGD, [OF_ADAMW]),
    "by its full key": (["--model.init_args.optimizer.class_path=torch.optim.SGD"], [OF_ADAMW]),
    "changed before": (
        ["--model.optimizer.weight_decay", "0.2", *SGD],
        ["lr 0.0005, weight_decay 0.2 of AdamW, in SGD"],
    ),
    "given again": (
        [*SGD, "--model.optimizer.weight_decay", "0.05", "--model.optimizer.init_args.lr=0.0005"],
        [],
    ),
    "given with the class": (
        ["--model.optimizer", as_json({"class_path": SGD[1], "init_args": {"weight_decay": 0.05}})],
        ["lr 0.0005 of AdamW, in SGD"],
    ),
    "nothing that fits": (
        [*STEP_LR, "--model.schedule", f"{SCHEDULE}.LinearLR"],
        [],
    ),
    "another schedule": (
        [
            *(*STEP_LR, "--model.schedule.gamma", "0.5", "--model.schedule"),
            *(f"{SCHEDULE}.MultiStepLR", "--model.schedule.milestones", "[1, 2]"),
        ],
        ["gamma 0.5 of StepLR, in MultiStepLR"],
    ),
    "another net": (
        ["--model.net.dropout", "0.3", "--model.net", "models.alexnet.AlexNet"],
        ["dropout 0.3 of NiN, in AlexNet"],
    ),
    "another dataset": (["--data", "datamodules.MNIST"], [OF_FASHION]),
    "two": ([*SGD, "--data", "datamodules.MNIST"], [OF_ADAMW, OF_FASHION]),
    "another module": (
        ["--model", "lit_modules.LitGoogLeNet", "--model.net", "models.googlenet.GoogLeNet"],
        ["optimizer, schedule, label_smoothing 0.1 of LitClassifier, in LitGoogLeNet"],
    ),
    "entries of a list": (
        ["--data.augment", as_json(THREE)],
        ["p 0.25 of RandomErasing, in RandomAffine"],
    ),
    "a callback": (
        [
            *("--trainer.callbacks", as_json([{"class_path": "callbacks.EMAWeightAveraging"}])),
            *("--trainer.callbacks.use_buffers", "false", "--trainer.callbacks"),
            as_json([{"class_path": "lightning.pytorch.callbacks.WeightAveraging"}]),
        ],
        ["use_buffers False of EMAWeightAveraging, in WeightAveraging"],
    ),
}


@pytest.mark.parametrize("case", CARRIED)
def test_what_is_carried_over_is_named(case):
    options, said = CARRIED[case]
    assert ParsedCLI(["--config", str(NIN), *options]).kept == said


def test_a_second_file_that_names_another_class(tmp_path):
    optimizer = {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.1}}
    second = tmp_path / "second.yaml"
    second.write_text(yaml.safe_dump({"model": {"init_args": {"optimizer": optimizer}}}))
    cli = ParsedCLI(["--config", str(NIN), "--config", str(second)])
    assert cli.kept == ["weight_decay 0.05 of AdamW, in SGD"]
    kept = cli.config.model.init_args.optimizer.init_args
    assert torch.optim.SGD([torch.zeros(1)], **kept).defaults["weight_decay"] == 0.05


def test_a_first_file_that_lacks_what_is_required(tmp_path):
    adamw = {"class_path": "torch.optim.AdamW", "init_args": {"weight_decay": 0.2}}
    first = tmp_path / "first.yaml"
    first.write_text(yaml.safe_dump({"model": {"init_args": {"optimizer": adamw}}}))
    net = ("--model.net", "models.lenet.LeNet5", "--data", "datamodules.Digits")
    said = ["weight_decay 0.2 of AdamW, in SGD"]
    assert ParsedCLI(["--config", str(first), *SGD, *net]).kept == said


def test_a_config_that_can_be_read_only_once_is_not_an_error():
    end, start = os.pipe()
    os.write(start, NIN.read_bytes())
    os.close(start)
    assert ParsedCLI(["--config", f"/dev/fd/{end}", *SGD]).config.data.init_args.image_size == 224
    os.close(end)


def test_the_header_names_what_is_carried_over(quickstart, tmp_path):
    options = ("--model.optimizer.weight_decay", "0.05", *SGD, "--dashboard", "false")
    ended = quickstart(*options)
    said = "kept    lr 0.004, weight_decay 0.05 of AdamW, in SGD"
    assert [line for line in ended.out.splitlines() if line.startswith("kept")] == [said]
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert config["model"]["init_args"]["optimizer"]["init_args"]["weight_decay"] == 0.05
    assert "kept" not in quickstart("--run_dir", "other", "--dashboard", "false").out


def test_a_file_of_weights_is_not_read_as_a_config(tmp_path):
    (tmp_path / "weights").write_text("{model: {num_classes: 3}}")
    assert given_keys(["--init_from", str(tmp_path / "weights")]) == {"init_from"}
    assert given_keys(["--config", str(tmp_path / "weights")]) == {"model.num_classes"}
