"""Checkpoint files that a reader never sees half of, and which of them a run keeps."""

import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from training.atomic import write_atomically
from training.errors import UserError
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


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Reads a checkpoint's plain data onto the CPU, tensors as they are asked for.

    Raises:
        UserError: If there is no checkpoint at `path`.
    """
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except FileNotFoundError as error:
        raise UserError(f"there is no checkpoint {path}.") from error
    except (RuntimeError, EOFError, ValueError, OSError, pickle.UnpicklingError) as error:
        raise UserError(
            f"{path} is not a checkpoint, or a damaged one. Use another file, or delete it."
        ) from error
    if not isinstance(checkpoint, dict) or "state_dict" not in checkpoint:
        raise UserError(f"{path} is not a checkpoint of this project: it has no state_dict.")
    return checkpoint


def check_fits(path: Path, module: LightningModule) -> None:
    """Makes sure that a checkpoint has the weights of this network.

    Raises:
        UserError: If it is another network's, or no checkpoint.
    """
    theirs = {name: tensor.shape for name, tensor in read_checkpoint(path)["state_dict"].items()}
    ours = {name: tensor.shape for name, tensor in module.state_dict().items()}
    if theirs != ours:
        different = sorted(
            name for name in theirs.keys() | ours.keys() if theirs.get(name) != ours.get(name)
        )
        raise UserError(
            f"{path} is of another network than {type(module.net).__name__} with these options "
            f"({different[0]} differs). Give the options it was trained with, or another --run_dir."
        )


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
