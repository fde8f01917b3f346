"""Averages of weights that never include an untrained network."""

from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn


class EMAWeightAveraging(WeightAveraging):
    """Exponential moving average of the weights; the average is validated, tested and saved.

    Adds a warm-up of the decay to Lightning's callback: after n updates, the first of which is a
    copy, the decay is (1 + n) / (10 + n), at most `decay`, as in TensorFlow's
    `ExponentialMovingAverage`. A constant decay of 0.999 would keep the initial weights in the
    average for thousands of steps.

    Args:
        decay: Share of the average that an update keeps after the warm-up, in [0, 1].
        update_every_n_steps: Optimizer steps between updates, at least 1.
        update_starting_at_step: The first step that is followed by an update; None means 0.
        update_starting_at_epoch: The first epoch with updates; None means 0.
        device: Device of the average; None means the network's device.
        use_buffers: Whether the running statistics of batch normalisation are averaged too; if
            not, they are copied from the network.

    Raises:
        ValueError: If a value is out of range.
    """

    def __init__(
        self,
        decay: float = 0.999,
        update_every_n_steps: int = 1,
        update_starting_at_step: int | None = None,
        update_starting_at_epoch: int | None = None,
        device: str | int | None = None,
        use_buffers: bool = True,
    ) -> None:
        if not 0 <= decay <= 1:
            raise ValueError(f"decay must be in [0, 1], got {decay}")
        if update_every_n_steps < 1:
            raise ValueError(f"update_every_n_steps must be at least 1, got {update_every_n_steps}")
        super().__init__(device, use_buffers, multi_avg_fn=self._average)
        self.decay = decay
        self.update_every_n_steps = update_every_n_steps
        self.update_starting_at_step = update_starting_at_step or 0
        self.update_starting_at_epoch = update_starting_at_epoch or 0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        if stage != "fit":  # evaluates the module itself, such as a checkpoint's average
            self._average_model = None
        elif self._device is None:  # the module itself is moved later
            self._average_model.to(trainer.strategy.root_device)

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        if step_idx is None or step_idx < self.update_starting_at_step:
            return False
        return step_idx % self.update_every_n_steps == 0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.current_epoch >= self.update_starting_at_epoch:
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        _copy_what_is_not_averaged(self, pl_module)
        super().on_validation_epoch_start(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        _copy_what_is_not_averaged(self, pl_module)
        super().on_train_end(trainer, pl_module)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        _copy_what_is_not_averaged(self, pl_module)
        super().on_save_checkpoint(trainer, pl_module, checkpoint)

    @torch.no_grad()
    def _average(
        self, averages: Sequence[Tensor], current: Sequence[Tensor], updates: Tensor | int
    ) -> None:
        """Moves averages of one dtype towards the current values, after `updates` updates."""
        n = int(updates)
        decay = min(self.decay, (1 + n) / (10 + n))
        if not averages[0].is_floating_point():
            decay = 0.0  # copies `num_batches_tracked` of a batch norm
        get_ema_multi_avg_fn(decay)(averages, current, updates)


assert {"_average_model", "_device", "_use_buffers", "_latest_update_epoch"} <= vars(
    WeightAveraging()
).keys(), (
    "this version of Lightning has renamed attributes of WeightAveraging: update their uses in "
    "this file and in training/trainer_options.py"
)


class NoUntrainedAverage(Callback):
    """Corrects what Lightning's own `WeightAveraging` validates and saves.

    Before the first update, `WeightAveraging` validates and saves a copy of the untrained network.
    An average that is updated at the end of an epoch is validated before the update but saved
    after it. This callback must come after the averaging callbacks.
    """

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.is_last_batch:
            for averaging in _averages(trainer):  # updates at most once an epoch
                averaging.on_train_epoch_end(trainer, pl_module)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for averaging in _averages(trainer):
            _copy_what_is_not_averaged(averaging, pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # An epoch that ends early here is already validated: its average is not updated again.
        if trainer.should_stop and not trainer.is_last_batch:
            for averaging in _averages(trainer):
                averaging._latest_update_epoch = trainer.current_epoch

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.on_validation_start(trainer, pl_module)


def _averages(trainer: Trainer) -> list[WeightAveraging]:
    return [callback for callback in trainer.callbacks if isinstance(callback, WeightAveraging)]


@torch.no_grad()
def _copy_what_is_not_averaged(averaging: WeightAveraging, module: LightningModule) -> None:
    """Copies the values that are not averaged from the network.

    These are all values before the first update, and the buffers if `use_buffers` is false.
    """
    average = averaging._average_model
    if average is None:  # not used in this stage
        return
    has_begun = average.n_averaged > 0
    if not has_begun:
        for ours, theirs in zip(average.module.parameters(), module.parameters(), strict=True):
            ours.copy_(theirs)
    if not has_begun or not averaging._use_buffers:
        for ours, theirs in zip(average.module.buffers(), module.buffers(), strict=True):
            ours.copy_(theirs)
