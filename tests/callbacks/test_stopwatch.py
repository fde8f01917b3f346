"""Times and speeds, with a simulated clock."""

import json

import pytest
import torch
from lightning.pytorch import Callback, Trainer

from callbacks.stopwatch import Stopwatch
from datamodules import Digits
from lit_modules import LitClassifier
from models.lenet import LeNet5
from tests.conftest import QUICKSTART


class Clock:
    """A second passes in each training step, seven in each validation; half as much work."""

    now = 0.0

    def perf_counter(self):
        return self.now

    def process_time(self):
        return self.now / 2


class Passing(Callback):
    def __init__(self, clock):
        self.clock = clock

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        self.clock.now += 1

    def on_validation_batch_start(self, trainer, module, batch, batch_idx, dataloader_idx=0):
        self.clock.now += 7


class StopAtStep(Callback):
    def __init__(self, step):
        self.step = step

    def on_validation_end(self, trainer, module):
        trainer.should_stop = trainer.global_step >= self.step


@pytest.fixture
def stopwatch(monkeypatch):
    """The stopwatch of a training with the given options: five batches, one to validate."""

    def train(*callbacks, **options):
        clock, stopwatch = Clock(), Stopwatch()
        monkeypatch.setattr("callbacks.stopwatch.time", clock)
        Trainer(
            accelerator="cpu",
            callbacks=[Passing(clock), stopwatch, *callbacks],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            **options,
        ).fit(LitClassifier(LeNet5("tanh")), Digits(batch_size=256, image_size=28))
        return stopwatch

    return train


@pytest.mark.parametrize("interval", [1.0, 0.2])
def test_images_per_second_count_only_the_steps(stopwatch, interval):
    watch = stopwatch(max_epochs=2, val_check_interval=interval)
    assert watch.images_per_second == [1257 / 5] * 2
    assert watch.train_seconds == 2 * (5 + 7 / interval)
    assert watch.train_cpu_seconds == watch.train_seconds / 2


def test_an_epoch_without_validation_is_timed(stopwatch):
    watch = stopwatch(max_epochs=2, check_val_every_n_epoch=2)
    assert watch.images_per_second == [1257 / 5] * 2
    assert watch.train_seconds == 2 * 5 + 7


def test_an_epoch_that_ends_early_counts_its_images(stopwatch):
    watch = stopwatch(StopAtStep(7), max_epochs=3, val_check_interval=0.2)
    assert watch.images_per_second == [1257 / 5, 256]
    assert watch.train_seconds == 7 * (1 + 7)


def test_the_time_of_a_run_includes_epochs_after_its_best(train, tmp_path):
    # With a learning rate of 0, the second epoch equals the first and is not better.
    still = {"class_path": "torch.optim.lr_scheduler.StepLR"}
    still["init_args"] = {"step_size": 1, "gamma": 0.0}
    ended = train(
        *("--config", QUICKSTART, "--run_dir", "run", "--trainer.max_epochs", "3"),
        *("--model.schedule", json.dumps(still), "--dashboard", "false"),
    )
    assert ended.status == 0
    figures = json.loads((tmp_path / "run" / "results.json").read_text())
    assert figures["best_epoch"] == 0
    best, last = (
        torch.load(tmp_path / "run" / "checkpoints" / name, weights_only=True)
        for name in ("best.ckpt", "last.ckpt")
    )
    for name in ("train_seconds", "train_cpu_seconds"):
        assert figures[name] == last["callbacks"]["Stopwatch"][name]
        assert figures[name] > best["callbacks"]["Stopwatch"][name]
