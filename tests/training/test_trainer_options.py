"""Options of Lightning work, or are refused if they would make the results untrue."""

import json
import sys

import pytest
import torch
import yaml
from lightning.pytorch.callbacks import StochasticWeightAveraging
from torch import nn

from inference.inspection import count_macs, count_parameters
from lit_modules import LitClassifier
from models.lenet import LeNet5
from tests.conftest import QUICKSTART, ROOT, assert_one_line
from tests.fuzz.watching import watched
from tests.running import run, train_quickly
from training import trainer_options

SCHEDULERS = "torch.optim.lr_scheduler"


class OwnAveraging(StochasticWeightAveraging):
    """Of a user."""


def frozen(num_classes: int = 10) -> nn.Module:
    return LeNet5("tanh", num_classes=num_classes).requires_grad_(False)


def half_frozen(num_classes: int = 10) -> nn.Module:
    net = LeNet5("tanh", num_classes=num_classes)
    net.c1.requires_grad_(False)
    return net


def callback(name, **init_args):
    return ["--trainer.callbacks", json.dumps([{"class_path": name, "init_args": init_args}])]


def schedule(name, **init_args):
    named = {"class_path": f"{SCHEDULERS}.{name}", "init_args": init_args}
    return ["--model.schedule", json.dumps(named)]


def linear():
    options = {"in_features": 28, "out_features": 10}
    return json.dumps({"class_path": "torch.nn.Linear", "init_args": options})


PRUNING = {"pruning_fn": "l1_unstructured", "amount": 0.5}
REFUSED = {
    "stochastic weight averaging": (
        callback("StochasticWeightAveraging", swa_lrs=0.1),
        ["StochasticWeightAveraging", "callbacks.EMAWeightAveraging"],
    ),
    "a subclass of it": (
        callback("tests.training.test_trainer_options.OwnAveraging", swa_lrs=0.1),
        ["OwnAveraging", "callbacks.EMAWeightAveraging"],
    ),
    "a search for the batch": (callback("BatchSizeFinder"), ["BatchSizeFinder", "data.batch_size"]),
    "a search for the rate": (callback("LearningRateFinder"), ["LearningRateFinder", "sweep.py"]),
    "accumulation that changes": (
        callback("GradientAccumulationScheduler", scheduling={0: 1, 1: 2}),
        ["GradientAccumulationScheduler", "trainer.accumulate_grad_batches"],
    ),
    "a timer": (callback("Timer", duration="00:00:00:01"), ["Timer", "trainer.max_epochs"]),
    "pruning": (callback("ModelPruning", **PRUNING), ["ModelPruning", "torch.nn.utils.prune"]),
    "parameters that come later": (
        callback("BackboneFinetuning"),
        ["BackboneFinetuning", "schedule", "--model.trainable", "--init_from"],
    ),
    "an optimizer that divides by 0 in 16 bits": (
        ["--trainer.precision", "16-true"],
        ["model.optimizer.eps 1e-08", "16-true", "bf16-true"],
    ),
    "an end of an epoch without validation": (
        ["--trainer.val_check_interval", "0.3"],
        ["val_check_interval 0.3", "6 of 20 batches", "such as 5"],
    ),
    "no interval": (["--trainer.val_check_interval", "0"], ["val_check_interval 0", "such as 1"]),
    "too long an interval": (
        ["--trainer.val_check_interval", "30"],
        ["val_check_interval 30", "20 batches", "such as 20"],
    ),
    "an interval in seconds": (
        ["--trainer.val_check_interval", "00:00:00:05"],
        ["val_check_interval", "expected int or float"],
    ),
    "an interval over epochs": (
        ["--trainer.check_val_every_n_epoch", "null"],
        ["check_val_every_n_epoch"],
    ),
    "none to train on": (
        ["--trainer.limit_train_batches", "1e-5"],
        ["limit_train_batches 1e-05", "20 batches"],
    ),
    "none to validate on": (
        ["--trainer.limit_val_batches", "1e-5"],
        ["limit_val_batches 1e-05", "3 batches"],
    ),
    "a part of a step": (
        [
            *("--trainer.accumulate_grad_batches", "2"),
            *("--trainer.limit_train_batches", "5"),
        ],
        ["accumulate_grad_batches 2", "5 batches", "such as 4"],
    ),
    "no accumulation": (
        ["--trainer.accumulate_grad_batches", "0"],
        ["accumulate_grad_batches", "at least 1"],
    ),
    "frozen parameters": (
        ["--model.net", "tests.training.test_trainer_options.frozen"],
        ["frozen", "LeNet5"],
    ),
    "a precision of packages that are not there": (
        ["--trainer.precision", "transformer-engine"],
        ["transformer_engine"],
    ),
    "16 bits of a GPU": (
        ["--trainer.accelerator", "cpu", "--trainer.precision", "16-mixed"],
        ["16-mixed", "needs a GPU", "bf16-mixed"],
    ),
    "a schedule of steps of 0 epochs": (
        schedule("StepLR", step_size=0),
        ["model.schedule", "zero"],
    ),
    "a cosine of 0 epochs": (
        schedule("CosineAnnealingLR", T_max=0),
        ["model.schedule", "zero"],
    ),
    "an average in other precisions": (
        [*callback("callbacks.EMAWeightAveraging"), "--trainer.precision", "64-true"],
        ["EMAWeightAveraging", "64-true", "bf16-mixed"],
    ),
    "an even average in other precisions": (
        [*callback("WeightAveraging"), "--trainer.precision", "bf16-true"],
        ["WeightAveraging", "bf16-true", "bf16-mixed"],
    ),
    "no validation, ever": (
        ["--trainer.check_val_every_n_epoch", "0"],
        ["check_val_every_n_epoch", "at least 1"],
    ),
    "none to test on": (
        ["--trainer.limit_test_batches", "1e-5"],
        ["limit_test_batches 1e-05", "6 batches"],
    ),
    "no checkpoints": (["--trainer.enable_checkpointing", "false"], ["enable_checkpointing"]),
    "nothing but speed": (["--trainer.barebones", "true"], ["barebones"]),
    "clipping below 0": (
        ["--trainer.gradient_clip_val", "-1"],
        ["gradient_clip_val must be at least 0"],
    ),
    "a clip that is no number": (
        ["--trainer.gradient_clip_val", "nan"],
        ["gradient_clip_val", "expected", "float"],
    ),
    "an average on no device": (
        callback("callbacks.EMAWeightAveraging", device="meta"),
        ["EMAWeightAveraging", "device meta"],
    ),
    "Lightning's average on no device": (
        callback("WeightAveraging", device="cuda:99"),
        ["WeightAveraging", "device cuda:99"],
    ),
    "a metric that nobody measures": (
        callback("EarlyStopping", monitor="nope"),
        ["EarlyStopping", "nope", "val/loss"],
    ),
    "checkpoints by a metric that nobody measures": (
        callback("ModelCheckpoint", monitor="nope"),
        ["ModelCheckpoint", "nope", "val/loss"],
    ),
    "an option of a callback": (
        callback("EarlyStopping", monitor="val/loss", mode="x"),
        ["mode", "min, max, got x"],
    ),
    "no callback": (callback("torch.nn.Flatten"), ["torch.nn.Flatten", "subclass of Callback"]),
    "a seed below 0": (["--seed_everything", "-1"], ["seed_everything", "-1", "2^32"]),
    "too large a seed": (["--seed_everything", "4294967296"], ["seed_everything", "4294967296"]),
    "no seed": (["--seed_everything", "false"], ["seed_everything", "False"]),
    "other classes than the data's": (
        ["--model.num_classes", "9"],
        ["model.num_classes is 9", "Digits has 10"],
    ),
    "a network for an optimizer": (
        ["--model.optimizer", "torch.nn.Sequential"],
        ["optimizer", "no optimizer"],
    ),
    "an optimizer of other gradients": (
        ["--model.optimizer", "torch.optim.SparseAdam"],
        ["SparseAdam", "dense gradients"],
    ),
    "an optimizer of other parameters": (
        ["--model.optimizer", "torch.optim.LBFGS"],
        ["LBFGS", "parameter groups"],
    ),
    "a network for a schedule": (
        ["--model.schedule", "torchvision.models.inception_v3"],
        ["schedule", "Inception3", "not a learning-rate scheduler"],
    ),
    "a network for one of several schedules": (
        [
            "--model.schedule",
            json.dumps(
                {
                    "class_path": "lit_modules.Schedules",
                    "init_args": {"schedules": ["torchvision.models.inception_v3"]},
                }
            ),
        ],
        ["schedule", "Inception3", "not a learning-rate scheduler"],
    ),
    "no schedules": (
        [
            "--model.schedule",
            '{"class_path": "lit_modules.Schedules", "init_args": {"schedules": []}}',
        ],
        ["milestones", "one fewer"],
    ),
    "values that a network of torch's refuses": (
        [
            "--model.net",
            '{"class_path": "torch.nn.Transformer", "init_args": {"activation": "tanh"}}',
        ],
        ["activation should be relu/gelu, not tanh"],
    ),
    "a plateau that goes up": (
        schedule("ReduceLROnPlateau", factor=3),
        ["model.schedule", "Factor should be < 1.0"],
    ),
    "values of no batch": (
        ["--model.net", linear()],
        ["Linear returns (1, 28, 10) values", "num_classes"],
    ),
    "a plateau without validation": (
        [*schedule("ReduceLROnPlateau"), "--trainer.limit_val_batches", "0"],
        ["model.schedule", "ReduceLROnPlateau", "limit_val_batches"],
    ),
    "a schedule without a length": (
        schedule("OneCycleLR", max_lr=0.1),
        ["model.schedule", "total_steps", "20 steps"],
    ),
    "a schedule of another length": (
        schedule("OneCycleLR", max_lr=0.1, total_steps=19),
        ["model.schedule", "total_steps 19", "set total_steps to 20"],
    ),
    "a schedule of as many steps as there are batches": (
        [
            *schedule("OneCycleLR", max_lr=0.1, total_steps=40),
            *("--trainer.accumulate_grad_batches", "2"),
        ],
        ["model.schedule", "set total_steps to 20"],
    ),
    "a schedule over steps of another length": (
        [
            "--model.schedule",
            json.dumps(
                {
                    "class_path": "lit_modules.Schedules",
                    "init_args": {
                        "milestones": [5],
                        "schedules": [
                            {"class_path": f"{SCHEDULERS}.ConstantLR"},
                            {
                                "class_path": f"{SCHEDULERS}.OneCycleLR",
                                "init_args": {"max_lr": 0.1, "total_steps": 20},
                            },
                        ],
                    },
                }
            ),
        ],
        ["model.schedule", "set total_steps to 15"],
    ),
}


@pytest.mark.parametrize("use", REFUSED)
def test_a_wrong_option_is_refused_in_one_line(quickstart, tmp_path, use):
    arguments, named = REFUSED[use]
    assert_one_line(quickstart(*arguments), named)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("said", "length"),
    [
        (schedule("CosineAnnealingLR", T_max=9), "set T_max to 1"),
        (schedule("PolynomialLR", total_iters=9), "set total_iters to 1"),
    ],
)
def test_a_schedule_of_another_length_gets_a_warning_of_one_line(quickstart, said, length):
    ended = quickstart(*said, "--dashboard", "false")
    assert ended.status == 0
    assert len(ended.err.splitlines()) == 1
    assert ended.err.startswith("warning: ")
    assert length in ended.err


def test_a_package_that_a_callback_needs_is_named(quickstart, monkeypatch):
    monkeypatch.setattr(trainer_options, "find_spec", lambda name: None)
    assert_one_line(quickstart(*callback("DeviceStatsMonitor")), ["pip install psutil"])


def test_a_network_that_would_be_downloaded_is_not_called(quickstart, tmp_path):
    with watched(tmp_path):
        quickstart("--model.schedule", "torchvision.models.inception_v3")


def test_lightnings_progress_bar_replaces_ours(quickstart):
    ended = quickstart(*callback("RichProgressBar"))
    assert ended.status == 0
    assert "train loss" not in ended.out


class Weighed(LitClassifier):
    """A loss with a weight for each class."""

    def loss(self, output, labels):
        return nn.functional.cross_entropy(output, labels, torch.ones(10))


def test_a_loss_with_class_weights_passes_the_checks(quickstart):
    ended = quickstart("--model", "tests.training.test_trainer_options.Weighed")
    assert (ended.status, ended.err) == (0, "")


def test_a_validation_before_the_training_changes_nothing(quickstart):
    ended = quickstart("--trainer.num_sanity_val_steps", "2")
    assert (ended.status, ended.err) == (0, "")


@pytest.mark.parametrize(("limit", "images"), [("1", 64), ("2", 128), ("0.5", 192), ("1000", 360)])
def test_the_results_say_how_many_test_images_were_used(quickstart, tmp_path, limit, images):
    ended = quickstart("--trainer.limit_test_batches", limit)
    assert ended.status == 0
    assert (f"of {images} images alone" in ended.out) == (images < 360)
    assert json.loads((tmp_path / "run" / "results.json").read_text())["test_images"] == images


def test_lightnings_average_is_replaced_by_ours(quickstart, tmp_path):
    options = callback("lightning.pytorch.callbacks.EMAWeightAveraging", decay=0.9)
    assert quickstart(*options, "--dashboard", "false").status == 0
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    (said,) = config["trainer"]["callbacks"]
    assert said["class_path"] == "callbacks.EMAWeightAveraging"
    assert said["init_args"]["decay"] == 0.9


@pytest.mark.parametrize("profiler", ["simple", "advanced"])
def test_a_profiler_prints_its_report(tmp_path, profiler):
    options = ("--trainer.max_epochs", "1", "--dashboard", "false", "--trainer.profiler", profiler)
    ended = train_quickly("--config", QUICKSTART, *options, cwd=tmp_path)
    assert ended.status == 0
    assert "run_training_epoch" in ended.err


def test_parameters_that_are_not_trained_count_too(quickstart, tmp_path):
    net = "tests.training.test_trainer_options.half_frozen"
    ended = quickstart("--model.net", net, "--dashboard", "false")
    assert ended.status == 0
    assert "61,706 parameters (61,550 trained)" in ended.out  # 6 kernels of 5 x 5 with biases
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["parameters"] == count_parameters(LeNet5()) == 61_706


@pytest.mark.parametrize(
    "optimizer", [["SGD"], ["AdamW", "--model.optimizer.eps", "1e-4"], ["Adafactor"]]
)
def test_16_bits_train_with_every_optimizer_that_can(quickstart, optimizer):
    name, *options = optimizer
    ended = quickstart(
        *("--trainer.precision", "16-true", "--model.optimizer", f"torch.optim.{name}", *options),
        *("--dashboard", "false"),
    )
    assert (ended.status, ended.err) == (0, "")
    assert "16-true" in ended.out


BATCHES = (
    *("limit_train_batches", "limit_val_batches", "limit_test_batches", "overfit_batches"),
    "val_check_interval",
)


def test_one_batch_is_one_whatever_was_imported_before(tmp_path):
    """`typing` caches the first of equal unions, and values are parsed in their order of types."""
    code = (
        "from typing import Optional, Union\n"
        "from jsonargparse import ArgumentParser\n"
        "import lightning.pytorch\n"
        "def others(some: Optional[Union[float, int]] = None, more: float | int = 0): ...\n"
        "ArgumentParser().add_function_arguments(others)\n"
        "from training.cli import TrainingCLI\n"
        f"for name in {BATCHES}:\n"
        f"    cli = TrainingCLI(['--config', {str(QUICKSTART)!r}, f'--trainer.{{name}}', '1'])\n"
        "    print(getattr(cli.trainer, name), cli.config.trainer[name])\n"
    )
    ended = run(sys.executable, "-c", code, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)})
    assert (ended.status, ended.err, ended.out) == (0, "", "1 1\n" * len(BATCHES))


def test_macs_are_counted_in_any_precision():
    net = LeNet5()
    assert count_macs(net.bfloat16(), 1, 28) == count_macs(net.double(), 1, 28) == 416_520
