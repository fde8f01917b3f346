"""Checkpoint files that a reader never sees half of, and which of them a run keeps."""

import os
import shutil
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from training.atomic import write_atomically
from training.run_folder import RunFolder


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the target, flushes and renames; reads plain data only."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        write_atomically(Path(path), lambda beside: torch.save(checkpoint, beside))

    def load_checkpoint(
        self, path: str | Path, map_location: Any = "cpu", weights_only: bool | None = True
    ) -> dict[str, Any]:
        return torch.load(path, map_location=map_location, weights_only=True)


class BestAndLast(Checkpoint):
    """Keeps `best.ckpt`, the highest val/acc (ties: lowest val/loss), and `last.ckpt`.

    Both are written at the end of an epoch, when validation and schedules have run. Lightning's
    `ModelCheckpoint` knows one metric, and its `save_last` waits for a new best.
    """

    def __init__(self, run: RunFolder) -> None:
        self.run = run
        self.best_score: list[float] | None = None  # val/acc and minus val/loss
        self.best_epoch = -1

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        metrics = trainer.callback_metrics
        score = None
        if "val/acc" in metrics:
            score = [metrics["val/acc"].item(), -metrics["val/loss"].item()]
        is_best = self.best_score is None or (score is not None and score > self.best_score)
        if not is_best:
            trainer.save_checkpoint(self.run.last)
            return
        self.best_score, self.best_epoch = score, trainer.current_epoch
        # The best first: a run that is killed in between does this epoch again, with the same end.
        trainer.save_checkpoint(self.run.best)
        if trainer.is_global_zero:
            write_atomically(self.run.last, lambda beside: _link(self.run.best, beside))

    def state_dict(self) -> dict[str, Any]:
        return {"best_score": self.best_score, "best_epoch": self.best_epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best_score = state_dict["best_score"]
        self.best_epoch = state_dict["best_epoch"]


def _link(source: Path, target: Path) -> None:
    """Makes `target` the same file as `source`, or a copy where the file system has no links."""
    target.unlink()
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
