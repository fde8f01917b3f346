"""Keeps the best and the last checkpoint of a run."""

import shutil
from collections.abc import Mapping
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from torch import Tensor

from terminal.atomic import write_atomically
from terminal.run_folder import RunFolder


def score_of(metrics: Mapping[str, Tensor]) -> list[float] | None:
    """Score of an epoch: highest val/acc, then lowest val/loss is best. None if not validated."""
    if "val/acc" not in metrics:
        return None
    return [metrics["val/acc"].item(), -metrics["val/loss"].item()]


class BestAndLast(Checkpoint):
    """Keeps `best.ckpt`, the highest val/acc (ties: lowest val/loss), and `last.ckpt`.

    Both are written at the end of an epoch, after validation and schedules. Lightning's
    `ModelCheckpoint` compares one metric only, and its `save_last` waits for a new best.
    """

    def __init__(self, run: RunFolder) -> None:
        self.run = run
        self.best_score: list[float] | None = None
        self.best_epoch = -1
        self.best_metrics: dict[str, float] = {}  # all of the validation, by their names
        self._stopped_early = False

    @property
    def best_model_path(self) -> str:
        """Lightning's name of it, for `Trainer.test(ckpt_path="best")`; empty before the first."""
        return str(self.run.best) if self.best_epoch >= 0 else ""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        trainer.should_stop = trainer.should_stop or self._stopped_early

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for logger in trainer.loggers:
            logger.save()  # a run that resumes from this checkpoint must find all logs before it
        self._stopped_early = trainer.should_stop
        score = score_of(trainer.callback_metrics)
        is_best = self.best_score is None or (score is not None and score > self.best_score)
        if not is_best:
            trainer.save_checkpoint(self.run.last)
            return
        self.best_score, self.best_epoch = score, trainer.current_epoch
        validated = trainer.callback_metrics.items()
        self.best_metrics = {k: value.item() for k, value in validated if k.startswith("val/")}
        # The best first: a run killed in between repeats this epoch, with the same result.
        trainer.save_checkpoint(self.run.best)
        if trainer.is_global_zero:
            # A copy, not a link: damage to one must not affect the other.
            write_atomically(self.run.last, lambda beside: shutil.copyfile(self.run.best, beside))

    def state_dict(self) -> dict[str, Any]:
        return {
            "best_score": self.best_score,
            "best_epoch": self.best_epoch,
            "best_metrics": self.best_metrics,
            "stopped_early": self._stopped_early,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best_score = state_dict["best_score"]
        self.best_epoch = state_dict["best_epoch"]
        self.best_metrics = state_dict.get("best_metrics", {})  # not in those of older versions
        self._stopped_early = state_dict["stopped_early"]
