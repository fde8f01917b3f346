"""Checks the Trainer's options, and refuses those that would break the project's promises."""

import importlib
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import torch
from jsonargparse import Namespace
from lightning.pytorch import Callback, LightningModule, Trainer, callbacks

from terminal.errors import UserError

WHOLE_EPOCHS = (
    "would end an epoch half-way, but a run can only resume from the end of an epoch. Set "
    "trainer.max_epochs, and trainer.limit_train_batches for shorter epochs."
)
NO_BEST = "would leave no best checkpoint to test."
REFUSED = {"max_steps": WHOLE_EPOCHS, "max_time": WHOLE_EPOCHS, "barebones": NO_BEST}
AT_LEAST_1 = (
    *("max_epochs", "log_every_n_steps", "accumulate_grad_batches", "check_val_every_n_epoch"),
)
NOT_ZERO = ("limit_train_batches", "limit_test_batches")
# They change the weights, the batch or the number of steps, and checkpoints do not record it.
REFUSED_CALLBACKS = {
    callbacks.StochasticWeightAveraging: "averages after the last checkpoint, so its average is "
    "never tested. Average with callbacks.EMAWeightAveraging, or evenly with "
    "lightning.pytorch.callbacks.WeightAveraging.",
    callbacks.BatchSizeFinder: "trains with another batch size than the config. Set "
    "data.batch_size, or compare several with sweep.py.",
    callbacks.LearningRateFinder: "trains with another learning rate than the config. "
    "Compare several with sweep.py.",
    callbacks.GradientAccumulationScheduler: "changes the number of steps, and with it the "
    "length of the schedule. Set trainer.accumulate_grad_batches.",
    callbacks.Timer: WHOLE_EPOCHS,
    callbacks.ModelPruning: "renames the weights of the network. Prune a finished network with "
    "torch.nn.utils.prune, and train it from Python.",
    callbacks.BaseFinetuning: "adds parameters to the optimizer that the schedule does not know. "
    "Train a part with --model.trainable, such as 'fc.*', then all of it from that run's best.ckpt "
    "with --init_from.",
}
METRICS = ("train/loss", "train/acc", "val/loss", "val/acc")
AVERAGED_IN_32_BITS = ("16-true", "64-true", "64")
REPLACED_CALLBACKS = {callbacks.EMAWeightAveraging: "callbacks.EMAWeightAveraging"}


class RunTrainer(Trainer):
    """Lightning's Trainer with limits of batches that are parsed as written: 1 or 1.0.

    1 is one batch, 1.0 is all batches. A parser tries the types of a union in order, but `typing`
    caches equal unions: Lightning's `Optional[Union[int, float]]` becomes `Optional[Union[float,
    int]]` if another module made that first. `int | float` is not cached.

    Args:
        limit_train_batches: Training batches per epoch: a number, or a share of all.
        limit_val_batches: Validation batches: a number, or a share of all.
        limit_test_batches: Test batches: a number, or a share of all.
        limit_predict_batches: Batches to predict: a number, or a share of all.
        overfit_batches: Training batches to overfit: a number, or a share; nothing is saved.
        val_check_interval: Batches between two validations: a number, or a share of an epoch.
        kwargs: Lightning's other options.
    """

    def __init__(
        self,
        *,
        limit_train_batches: int | float | None = 1.0,
        limit_val_batches: int | float | None = 1.0,
        limit_test_batches: int | float | None = 1.0,
        limit_predict_batches: int | float | None = 1.0,
        overfit_batches: int | float = 0.0,
        val_check_interval: int | float | None = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            limit_train_batches=limit_train_batches,
            limit_val_batches=limit_val_batches,
            limit_test_batches=limit_test_batches,
            limit_predict_batches=limit_predict_batches,
            overfit_batches=overfit_batches,
            val_check_interval=val_check_interval,
            **kwargs,
        )


def check_trainer_options(trainer: Namespace) -> None:
    """Checks that the Trainer trains whole epochs, validates and tests.

    Replaces Lightning's EMAWeightAveraging by this project's, which has the same arguments.

    Raises:
        UserError: If not; names what to set instead.
    """
    if not isinstance(trainer, Namespace) or "max_epochs" not in trainer:
        raise UserError(f"trainer must be options, such as max_epochs: 3, got {trainer}.")
    for name, reason in REFUSED.items():
        if trainer[name] not in (None, -1) and trainer[name] is not False:
            raise UserError(f"trainer.{name} {reason}")
    for name in AT_LEAST_1:
        if trainer[name] is not None and trainer[name] < 1:
            raise UserError(f"trainer.{name} must be at least 1, got {trainer[name]}.")
    if trainer.enable_checkpointing is False:
        raise UserError(f"trainer.enable_checkpointing false {NO_BEST}")
    if trainer.gradient_clip_val is not None and trainer.gradient_clip_val < 0:
        raise UserError(
            f"trainer.gradient_clip_val must be at least 0, got {trainer.gradient_clip_val}."
        )
    for name in NOT_ZERO:
        if trainer[name] == 0:
            raise UserError(f"trainer.{name} 0 leaves nothing to do.")
    if trainer.check_val_every_n_epoch is None:
        raise UserError("trainer.check_val_every_n_epoch must be a number; 1 means every epoch.")
    if isinstance(trainer.strategy, str) and (
        "spawn" in trainer.strategy or "fork" in trainer.strategy
    ):
        raise UserError(f"trainer.strategy {trainer.strategy} is not supported: use ddp.")
    listed = trainer.callbacks or []
    for callback in listed if isinstance(listed, list) else [listed]:
        _check_callback(callback, str(trainer.precision))


def is_trial(trainer: Namespace) -> bool:
    """Whether `fast_dev_run` or `overfit_batches` is set: such a run saves nothing."""
    return bool(trainer.fast_dev_run or trainer.overfit_batches)


def check_kept(keeping: Sequence[Callback]) -> None:
    """Checks that the user's own checkpoints do not overwrite those of the run.

    Raises:
        UserError: If they would; names what to change.
    """
    for callback in keeping:
        if isinstance(callback, callbacks.ModelCheckpoint) and callback.dirpath is None:
            name = type(callback).__name__
            if callback.save_last:
                raise UserError(f"{name}.save_last: every run already saves last.ckpt.")
            if callback.filename in ("best", "last"):
                raise UserError(
                    f"{name}.filename {callback.filename}: the run itself saves "
                    f"{callback.filename}.ckpt. Choose another name."
                )


def check_watched(watching: Sequence[Callback], module: LightningModule) -> None:
    """Checks that the metrics that callbacks monitor exist; the user's own module may log more.

    Raises:
        UserError: If not; names those that exist.
    """
    if not type(module).__module__.startswith("lit_modules."):
        return
    for callback in watching:
        watched = getattr(callback, "monitor", None)
        if watched is not None and watched not in METRICS:
            raise UserError(
                f"{type(callback).__name__} monitors {watched}, but the metrics are "
                f"{', '.join(METRICS)}."
            )


def check_averages(averaging: Sequence[Callback]) -> None:
    """Checks that the devices of weight averages exist.

    Raises:
        UserError: If there is no such device.
    """
    for callback in averaging:
        device = getattr(callback, "_device", None)
        if isinstance(callback, callbacks.WeightAveraging) and device is not None:
            try:
                torch.zeros(1, device=device).item()
            except (RuntimeError, AssertionError, NotImplementedError) as error:
                raise UserError(
                    f"{type(callback).__name__} cannot keep weights on the device {device}. "
                    "Without device they are on the network's."
                ) from error


def count_batches(trainer: Trainer, split: str, batches: int) -> int:
    """Number of batches within the Trainer's limit.

    Raises:
        UserError: If the limit is a share that rounds to no batches.
    """
    limit = getattr(trainer, f"limit_{split}_batches")
    left = min(batches, limit) if isinstance(limit, int) else int(batches * limit)
    if limit and not left:
        raise UserError(f"trainer.limit_{split}_batches {limit} of {batches} batches is no batch.")
    return left


def check_epoch(trainer: Trainer, batches: int, is_validated: bool) -> None:
    """Checks that an epoch ends with a complete optimizer step, and with a validation if any.

    Checkpoints are saved there.

    Args:
        trainer: The Trainer.
        batches: Number of training batches per epoch.
        is_validated: Whether there are validation batches.

    Raises:
        UserError: If not; names a value that does.
    """
    accumulated = trainer.accumulate_grad_batches
    if batches % accumulated:
        raise UserError(
            f"an epoch of {batches} batches ends within a step of "
            f"trainer.accumulate_grad_batches {accumulated}. Set trainer.limit_train_batches to a "
            f"multiple, such as {batches - batches % accumulated or accumulated}."
        )
    if not is_validated:
        return
    said = trainer.val_check_interval
    every = said if isinstance(said, int) else max(1, int(batches * said))
    if every < 1 or batches % every:
        divisors = [number for number in range(1, batches + 1) if batches % number == 0]
        nearest = min(divisors, key=lambda number: abs(number - every))
        raise UserError(
            f"trainer.val_check_interval {said} is every {every} of {batches} batches: the end of "
            "the epoch, where checkpoints are saved, would not be validated. Set a number of "
            f"batches that divides {batches}, such as {nearest}."
        )


def _check_callback(callback: Namespace, precision: str) -> None:
    module, _, name = callback.class_path.rpartition(".")
    kind = getattr(importlib.import_module(module), name, None)
    if kind in REPLACED_CALLBACKS:
        callback.class_path = REPLACED_CALLBACKS[kind]
    if not isinstance(kind, type):
        return
    for refused, reason in REFUSED_CALLBACKS.items():
        if issubclass(kind, refused):
            raise UserError(f"{name} {reason}")
    if issubclass(kind, callbacks.DeviceStatsMonitor) and not find_spec("psutil"):
        raise UserError(f"{name} needs psutil, which is missing: pip install psutil.")
    if issubclass(kind, callbacks.WeightAveraging) and precision.endswith(AVERAGED_IN_32_BITS):
        raise UserError(
            f"{name} averages in 32 bits: with trainer.precision {precision} it would round the "
            "weights. Set 32-true or bf16-mixed."
        )
