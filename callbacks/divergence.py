"""Stops a training whose loss is NaN or infinite."""

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from terminal.errors import UserError
from terminal.run_folder import RunFolder


class StopWhenDiverged(Callback):
    """Stops a run whose loss is not finite, before its checkpoint is saved.

    Losses are checked together every `log_every_n_steps`, as each check waits for the device.

    Raises:
        UserError: With the step, its learning rate and the last good checkpoint.
    """

    def __init__(self, run: RunFolder) -> None:
        self.run = run
        self._rate = 0.0
        self._steps: list[tuple[int, float, Tensor]] = []  # step, learning rate, loss

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int
    ) -> None:
        self._rate = trainer.optimizers[0].param_groups[0]["lr"]

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: dict[str, Tensor],
        batch: object,
        batch_idx: int,
    ) -> None:
        self._steps.append((trainer.global_step, self._rate, outputs["loss"]))
        if (batch_idx + 1) % trainer.log_every_n_steps == 0 or trainer.is_last_batch:
            self._check(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._steps:  # of an epoch that ended early
            self._check(trainer)
        val_loss = trainer.callback_metrics.get("val/loss")
        if val_loss is not None and not val_loss.isfinite():
            self._stop(f"the validation loss is not finite after step {trainer.global_step}")

    def _check(self, trainer: Trainer) -> None:
        is_finite = torch.stack([loss for _, _, loss in self._steps]).isfinite()
        end = len(is_finite)
        first = torch.where(is_finite.all(), end, is_finite.long().argmin())
        first = int(trainer.strategy.reduce(first, reduce_op="min"))  # over all processes
        steps, self._steps = self._steps, []
        if first < end:
            step, rate, _ = steps[first]
            self._stop(f"the loss is not finite in step {step}, at learning rate {rate:.3g}")

    def _stop(self, what: str) -> None:
        last = self.run.last
        kept = f"The last good checkpoint is {last}." if last.exists() else "No epoch was finished."
        raise UserError(f"{what}: the training has diverged. {kept}")
