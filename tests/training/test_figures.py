"""`results.json` is true of `best.ckpt`, and the learning-rate curve is the schedule's."""

import csv
import json
import math
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F
from torch.optim import lr_scheduler

import evaluate as evaluate_script
from datamodules import Digits
from inference.onnx import measured
from models.lenet import LeNet5
from tests.conftest import QUICKSTART
from tests.running import train_quickly

RATE, EPOCHS, BATCH = 0.004, 3, 256
STEPS = -(-1257 // BATCH)  # of an epoch
RECIPE = (
    *("--config", QUICKSTART, "--run_dir", "run", "--dashboard", "false"),
    *("--data.batch_size", BATCH, "--trainer.max_epochs", EPOCHS, "--trainer.log_every_n_steps", 1),
)
SCHEDULERS = "torch.optim.lr_scheduler"


def schedule(name, **init_args):
    return {"class_path": f"{SCHEDULERS}.{name}", "init_args": init_args}


def constant(optimizer):
    return lr_scheduler.LambdaLR(optimizer, lambda epoch: 1.0)


def warmup_cosine(optimizer):
    def factor(step):
        progress = (step + 0.5) / (STEPS * EPOCHS)
        if progress < 0.05:
            return progress / 0.05
        return (1 + math.cos(math.pi * ((progress - 0.05) / 0.95))) / 2

    return lr_scheduler.LambdaLR(optimizer, factor)


# The config, the same scheduler in a plain loop, and when it is stepped.
SCHEDULES = {
    "none": (None, constant, "epoch"),
    "WarmupCosine": ({"class_path": "lit_modules.WarmupCosine"}, warmup_cosine, "step"),
    "OneCycleLR": (
        schedule("OneCycleLR", max_lr=0.01, total_steps=STEPS * EPOCHS),
        lambda o: lr_scheduler.OneCycleLR(o, 0.01, STEPS * EPOCHS),
        "step",
    ),
    "CyclicLR": (
        schedule("CyclicLR", base_lr=0.001, max_lr=0.01, step_size_up=4, cycle_momentum=False),
        lambda o: lr_scheduler.CyclicLR(o, 0.001, 0.01, step_size_up=4, cycle_momentum=False),
        "step",
    ),
    "CosineAnnealingLR over steps": (
        {
            "class_path": "lit_modules.Schedules",
            "init_args": {"schedules": [schedule("CosineAnnealingLR", T_max=STEPS * EPOCHS)]},
        },
        lambda o: lr_scheduler.CosineAnnealingLR(o, STEPS * EPOCHS),
        "step",
    ),
    "SequentialLR over steps": (
        {
            "class_path": "lit_modules.Schedules",
            "init_args": {
                "schedules": [
                    schedule("LinearLR", start_factor=0.1, total_iters=4),
                    schedule("CosineAnnealingLR", T_max=STEPS * EPOCHS - 4),
                ],
                "milestones": [4],
            },
        },
        lambda o: lr_scheduler.SequentialLR(
            o,
            [
                lr_scheduler.LinearLR(o, 0.1, total_iters=4),
                lr_scheduler.CosineAnnealingLR(o, STEPS * EPOCHS - 4),
            ],
            [4],
        ),
        "step",
    ),
    "SequentialLR over epochs": (
        {
            "class_path": "lit_modules.Schedules",
            "init_args": {
                "schedules": [
                    schedule("ConstantLR", factor=0.5, total_iters=1),
                    schedule("ExponentialLR", gamma=0.3),
                ],
                "milestones": [1],
                "interval": "epoch",
            },
        },
        lambda o: lr_scheduler.SequentialLR(
            o,
            [lr_scheduler.ConstantLR(o, 0.5, 1), lr_scheduler.ExponentialLR(o, 0.3)],
            [1],
        ),
        "epoch",
    ),
    "StepLR": (
        schedule("StepLR", step_size=1),
        lambda o: lr_scheduler.StepLR(o, 1),
        "epoch",
    ),
    "MultiStepLR": (
        schedule("MultiStepLR", milestones=[1, 2]),
        lambda o: lr_scheduler.MultiStepLR(o, [1, 2]),
        "epoch",
    ),
    "ExponentialLR": (
        schedule("ExponentialLR", gamma=0.5),
        lambda o: lr_scheduler.ExponentialLR(o, 0.5),
        "epoch",
    ),
    "LinearLR": (schedule("LinearLR"), lr_scheduler.LinearLR, "epoch"),
    "ConstantLR": (
        schedule("ConstantLR", total_iters=2),
        lambda o: lr_scheduler.ConstantLR(o, total_iters=2),
        "epoch",
    ),
    "PolynomialLR": (
        schedule("PolynomialLR", total_iters=EPOCHS),
        lambda o: lr_scheduler.PolynomialLR(o, EPOCHS),
        "epoch",
    ),
    "CosineAnnealingLR": (
        schedule("CosineAnnealingLR", T_max=EPOCHS),
        lambda o: lr_scheduler.CosineAnnealingLR(o, EPOCHS),
        "epoch",
    ),
    "CosineAnnealingWarmRestarts": (
        schedule("CosineAnnealingWarmRestarts", T_0=2),
        lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 2),
        "epoch",
    ),
    "ReduceLROnPlateau": (
        schedule("ReduceLROnPlateau", patience=0, threshold=0.9),
        lambda o: lr_scheduler.ReduceLROnPlateau(o, patience=0, threshold=0.9),
        "val/loss",
    ),
    "ReduceLROnPlateau of the accuracy": (
        schedule("ReduceLROnPlateau", mode="max", patience=0, threshold=0.9),
        lambda o: lr_scheduler.ReduceLROnPlateau(o, mode="max", patience=0, threshold=0.9),
        "val/acc",
    ),
}


def callback(name, **init_args):
    if "." not in name:
        name = f"lightning.pytorch.callbacks.{name}"
    return (
        "--trainer.callbacks",
        json.dumps([{"class_path": name, "init_args": init_args}]),
    )


AVERAGE = "callbacks.EMAWeightAveraging"
STOP = {"monitor": "val/acc", "mode": "max", "min_delta": 1.0, "patience": 1}
RECIPES = {
    "averaged weights": callback(AVERAGE),
    "averaged weights of few steps": callback(AVERAGE, update_every_n_steps=3),
    "averaged weights from the second epoch": callback(AVERAGE, update_starting_at_epoch=1),
    "averaged weights from a step that never comes": callback(
        AVERAGE, update_starting_at_step=1000
    ),
    "Lightning's averaged weights": callback("EMAWeightAveraging", update_starting_at_epoch=2),
    "an even average": callback("WeightAveraging"),
    "bf16-mixed": ("--trainer.precision", "bf16-mixed"),
    "bf16-true": ("--trainer.precision", "bf16-true"),
    "64-true": ("--trainer.precision", "64-true"),
    "16-true": ("--trainer.precision", "16-true", "--model.optimizer", "torch.optim.SGD"),
    "early stopping": callback("EarlyStopping", **STOP),
    "early stopping in an epoch": (
        *callback("EarlyStopping", **STOP),
        *("--trainer.val_check_interval", "0.2"),
    ),
    "accumulation": ("--trainer.accumulate_grad_batches", "2"),
    "clipping": ("--trainer.gradient_clip_val", "0.1"),
    "a part of each epoch": (
        *("--trainer.limit_train_batches", "3", "--trainer.limit_val_batches", "1"),
    ),
    "no validation": ("--trainer.limit_val_batches", "0"),
    "validation every other epoch": ("--trainer.check_val_every_n_epoch", "2"),
    "validation in an epoch": ("--trainer.val_check_interval", "0.2"),
    "label smoothing": ("--model.label_smoothing", "0.2"),
    "two processes": ("--trainer.accelerator", "cpu", "--trainer.devices", "2"),
}


def trained(folder: Path, *options) -> Path:
    """The run folder of a training with the given options."""
    ended = train_quickly(*RECIPE, *options, cwd=folder)
    assert (ended.status, ended.err) == (0, "")
    return folder / "run"


def plain_loop(checkpoint: Path) -> tuple[float, float]:
    """Accuracy and mean loss of the test images."""
    weights = torch.load(checkpoint, weights_only=True)["state_dict"]
    net = LeNet5("tanh")
    net.load_state_dict({name.removeprefix("net."): value for name, value in weights.items()})
    net.eval()
    data = Digits()
    data.setup("test")
    right, loss = 0, 0.0
    for image, label in zip(*data.splits["test"], strict=True):
        image = F.interpolate(image[None] / 255, (28, 28), mode="bilinear")
        with torch.no_grad():
            logits = net((image - data.mean) / data.std)
        right += int(logits.argmax()) == int(label)
        loss += F.cross_entropy(logits, label[None]).item()
    return right / 360, loss / 360


def rows_of(folder):
    with open(folder / "metrics.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [{name: float(value) for name, value in row.items() if value} for row in rows]


@pytest.mark.parametrize("name", RECIPES)
def test_the_test_metrics_are_those_of_the_best_checkpoint(name, tmp_path, monkeypatch):
    folder = trained(tmp_path, *RECIPES[name])
    results = json.loads((folder / "results.json").read_text())
    assert len(rows_of(folder)) >= results["epochs"]
    best = folder / "checkpoints" / "best.ckpt"
    monkeypatch.setattr("sys.argv", ["evaluate.py", str(best), "--json", f"{tmp_path}/e.json"])
    evaluate_script.main()
    evaluated = json.loads((tmp_path / "e.json").read_text())
    assert evaluated["accuracy"] == results["test_accuracy"]
    # Each process has half of each batch, so sums are rounded differently.
    rounding = 1e-6 if name == "two processes" else 0
    assert evaluated["loss"] == pytest.approx(results["test_loss"], rel=rounding, abs=0)
    assert measured(best)["test_accuracy"] == evaluated["accuracy"]  # as export.py stores it
    accuracy, loss = plain_loop(best)
    assert accuracy == results["test_accuracy"]
    # Resized and normalised in another order, which changes some of the 24 bits.
    assert loss == pytest.approx(results["test_loss"], rel=1e-5)


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_learning_rate_equals_a_plain_loops(name, tmp_path):
    said, make, stepped_after = SCHEDULES[name]
    folder = trained(tmp_path, "--model.schedule", "null" if said is None else json.dumps(said))
    rows = [row for row in rows_of(folder) if "lr" in row]  # except for the test
    optimizer = torch.optim.AdamW([torch.zeros(1, requires_grad=True)], lr=RATE)
    scheduler = make(optimizer)
    expected = []
    for epoch in range(EPOCHS):
        for _ in range(STEPS):
            expected.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            if stepped_after == "step":
                scheduler.step()
        if stepped_after == "epoch":
            scheduler.step()
        elif stepped_after != "step":
            scheduler.step(rows[(epoch + 1) * STEPS - 1][stepped_after])
    assert [row["lr"] for row in rows] == expected
    assert name in ("none",) or len(set(expected)) > 1
