"""Checkpoint files that a reader never sees half of, and which of them a run keeps."""

import io
import pickle
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import torch
import torch.distributed as dist
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from torch import Tensor

from terminal.atomic import write_atomically
from terminal.errors import UserError, warn
from terminal.run_folder import RunFolder

# What torch.save wrote first before its files were archives: a pickled number.
OLD_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the target, flushes and renames; reads plain data only.

    With several processes the first one reads and sends the bytes to the others, so that a run
    also goes on where machines have no file system in common.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        def write(beside: Path) -> None:
            with open(beside, "wb") as file:
                torch.save(checkpoint, file)

        try:
            write_atomically(Path(path), write)
        except (OSError, RuntimeError) as error:
            # torch reports a full disk as a RuntimeError on top of the file's own error.
            cause = error if isinstance(error, OSError) else error.__context__
            if not isinstance(cause, OSError):
                raise
            raise UserError(
                f"cannot write {path}: {cause.strerror}. The checkpoints of before are whole: put "
                "that right, and give the same command again."
            ) from error

    def load_checkpoint(
        self, path: str | Path, map_location: Any = "cpu", weights_only: bool | None = True
    ) -> dict[str, Any]:
        is_alone = not (dist.is_available() and dist.is_initialized())
        if is_alone or dist.get_rank() == 0:
            read_checkpoint(Path(path))  # or it is said in a line what is wrong with it
        if is_alone:
            return torch.load(path, map_location=map_location, weights_only=True)
        content = [Path(path).read_bytes() if dist.get_rank() == 0 else None]
        dist.broadcast_object_list(content)
        return torch.load(io.BytesIO(content[0]), map_location=map_location, weights_only=True)


class DamagedCheckpoint(UserError):
    """A file that is not whole, or no checkpoint at all."""


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Reads a checkpoint's plain data onto the CPU, tensors as they are asked for.

    Every byte is compared with its checksum, which `torch.load` does not do. Nothing that is in the
    file is executed.

    Raises:
        UserError: If there is no checkpoint at `path`, or one that holds more than plain data.
        DamagedCheckpoint: If it is not whole.
    """
    if path.is_dir():
        raise UserError(
            f"{path} is a folder: name a checkpoint, such as {path}/checkpoints/best.ckpt."
        )
    if not path.exists():
        raise UserError(f"there is no checkpoint {path}.")
    if not path.is_file():
        raise UserError(f"{path} is no file.")  # a pipe would be waited for
    try:
        with open(path, "rb") as file:
            start = file.read(len(OLD_MAGIC))
    except OSError as error:
        raise UserError(f"cannot read the checkpoint: {error}.") from error
    if start == OLD_MAGIC:
        raise UserError(
            f"{path} is of a torch before 1.6: in Python, read it by torch.load(path, "
            "weights_only=True), and write it anew by torch.save."
        )
    try:
        with ZipFile(path) as archive:
            # torch compresses nothing: what is compressed here may be as large as it likes.
            if any(part.compress_type for part in archive.infolist()) or archive.testzip():
                raise BadZipFile
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch, about what it checks
            checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path} holds more than plain data{_code_in(path)}. It is refused, and nothing in it "
            "was executed."
        ) from error
    except Exception as error:  # whatever torch makes of what anybody has made
        raise DamagedCheckpoint(f"{path} is not a checkpoint, or a damaged one.") from error
    if not isinstance(checkpoint, dict) or "state_dict" not in checkpoint:
        if _are_weights(checkpoint):
            raise UserError(
                f"{path} holds weights alone, and not what network they are of: in Python, "
                "net.load_state_dict(torch.load(path, weights_only=True))."
            )
        raise UserError(f"{path} is not a checkpoint of this project: it has no state_dict.")
    if not _are_weights(checkpoint["state_dict"]):
        raise DamagedCheckpoint(f"{path} is damaged: its state_dict is not one of weights.")
    return checkpoint


def _are_weights(found: Any) -> bool:
    """Names with tensors, none of them larger than what the file has for it."""
    return isinstance(found, Mapping) and all(
        isinstance(name, str)
        and isinstance(tensor, Tensor)
        and tensor.layout == torch.strided
        and not tensor.is_quantized
        and tensor.device.type != "meta"
        and tensor.nbytes <= tensor.untyped_storage().nbytes()
        for name, tensor in found.items()
    )


def _code_in(path: Path) -> str:
    """The functions that unpickling would call, as far as they can be told."""
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # whatever such a file brings about
        return ""
    return f" ({', '.join(names)})" if names else ""


def read_fitting_checkpoint(path: Path, module: LightningModule) -> dict[str, Any]:
    """Reads a checkpoint and makes sure that it has the weights of this network.

    Raises:
        UserError: If it is another network's, or no checkpoint.
    """
    checkpoint = read_checkpoint(path)
    theirs = {name: tensor.shape for name, tensor in checkpoint["state_dict"].items()}
    ours = {name: tensor.shape for name, tensor in module.state_dict().items()}
    if theirs != ours:
        different = sorted(
            name for name in theirs.keys() | ours.keys() if theirs.get(name) != ours.get(name)
        )
        raise UserError(
            f"{path} is of another network than {type(module.net).__name__} with these options "
            f"({different[0]} differs). Give the options it was trained with, or another --run_dir."
        )
    return checkpoint


def find_checkpoint(run: RunFolder, module: LightningModule) -> tuple[Path | None, int, int]:
    """The checkpoint to go on from, and the epochs and steps that it was taken after.

    It is the last one, or else the best; a run that has none yet starts at step 0.

    Raises:
        UserError: If there are checkpoints and none can be used.
    """
    damage: UserError | None = None
    for path in (run.last, run.best):
        if not path.exists():
            continue
        try:
            checkpoint = read_fitting_checkpoint(path, module)
            epochs, step = checkpoint.get("epoch"), checkpoint.get("global_step")
            if type(epochs) is not int or type(step) is not int or min(epochs, step) < 0:
                raise DamagedCheckpoint(f"{path} is damaged: it does not say of which epoch it is.")
        except DamagedCheckpoint as error:
            damage = damage or error
            continue
        if damage:
            warn(f"{damage} Going on from {path}, after epoch {epochs + 1}.")
        return path, epochs + 1, step
    if damage:
        raise UserError(f"{damage} Put a whole one there, or name another --run_dir.")
    return None, 0, 0


def score_of(metrics: Mapping[str, Tensor]) -> list[float] | None:
    """What is best: the highest val/acc, then the lowest val/loss; None without a validation."""
    if "val/acc" not in metrics:
        return None
    return [metrics["val/acc"].item(), -metrics["val/loss"].item()]


class BestAndLast(Checkpoint):
    """Keeps `best.ckpt`, the highest val/acc (ties: lowest val/loss), and `last.ckpt`.

    Both are written at the end of an epoch, when validation and schedules have run. Lightning's
    `ModelCheckpoint` knows one metric, and its `save_last` waits for a new best.
    """

    def __init__(self, run: RunFolder) -> None:
        self.run = run
        self.best_score: list[float] | None = None
        self.best_epoch = -1
        self._stopped_early = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        trainer.should_stop = trainer.should_stop or self._stopped_early

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for logger in trainer.loggers:
            logger.save()  # what comes before the checkpoint is not lost if the run goes on from it
        self._stopped_early = trainer.should_stop
        score = score_of(trainer.callback_metrics)
        is_best = self.best_score is None or (score is not None and score > self.best_score)
        if not is_best:
            trainer.save_checkpoint(self.run.last)
            return
        self.best_score, self.best_epoch = score, trainer.current_epoch
        # The best first: a run that is killed in between does this epoch again, with the same end.
        trainer.save_checkpoint(self.run.best)
        if trainer.is_global_zero:
            # Not a link: damage to the one must not be damage to the other.
            write_atomically(self.run.last, lambda beside: shutil.copyfile(self.run.best, beside))

    def state_dict(self) -> dict[str, Any]:
        return {
            "best_score": self.best_score,
            "best_epoch": self.best_epoch,
            "stopped_early": self._stopped_early,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best_score = state_dict["best_score"]
        self.best_epoch = state_dict["best_epoch"]
        self._stopped_early = state_dict["stopped_early"]
