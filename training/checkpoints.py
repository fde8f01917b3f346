"""Writes checkpoints atomically, and finds the one that a run resumes from."""

import io
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch import LightningModule

from lit_modules.checkpoints import DamagedCheckpoint, read_checkpoint
from terminal.atomic import write_atomically
from terminal.errors import UserError, warn
from terminal.run_folder import RunFolder


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes checkpoints atomically and reads plain data only.

    With several processes the first one reads and sends the bytes to the others, so that a run
    also resumes on machines without a common file system.
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
            # torch raises a RuntimeError for a full disk, while it handles the file's own OSError.
            cause = error if isinstance(error, OSError) else error.__context__
            if not isinstance(cause, OSError):
                raise
            raise UserError(
                f"cannot write {path}: {cause.strerror}. Earlier checkpoints are complete: fix "
                "this, and run the same command again."
            ) from error

    def load_checkpoint(
        self, path: str | Path, map_location: Any = "cpu", weights_only: bool | None = True
    ) -> dict[str, Any]:
        is_alone = not (dist.is_available() and dist.is_initialized())
        if is_alone or dist.get_rank() == 0:
            read_checkpoint(Path(path))  # raises a UserError if it is damaged
        if is_alone:
            return torch.load(path, map_location=map_location, weights_only=True)
        content = [Path(path).read_bytes() if dist.get_rank() == 0 else None]
        dist.broadcast_object_list(content)
        return torch.load(io.BytesIO(content[0]), map_location=map_location, weights_only=True)


def read_fitting_checkpoint(path: Path, module: LightningModule) -> dict[str, Any]:
    """Reads a checkpoint and checks that its weights fit this network.

    Raises:
        UserError: If it is not a checkpoint, or belongs to another network.
    """
    checkpoint = read_checkpoint(path)
    theirs = {name: tensor.shape for name, tensor in checkpoint["state_dict"].items()}
    ours = {name: tensor.shape for name, tensor in module.state_dict().items()}
    if theirs != ours:
        different = sorted(
            name for name in theirs.keys() | ours.keys() if theirs.get(name) != ours.get(name)
        )
        raise UserError(
            f"{path} is from another network than {type(module.net).__name__} with these options "
            f"({different[0]} differs). Give the options it was trained with, or another --run_dir."
        )
    return checkpoint


def find_checkpoint(run: RunFolder, module: LightningModule) -> tuple[Path | None, int, int]:
    """The checkpoint to resume from, and the number of epochs and steps before it.

    It is the last one, or else the best; without checkpoints, a run starts at step 0.

    Raises:
        UserError: If there are checkpoints but none can be used.
    """
    damage: UserError | None = None
    for path in (run.last, run.best):
        if not path.exists():
            continue
        try:
            checkpoint = read_fitting_checkpoint(path, module)
            epochs, step = checkpoint.get("epoch"), checkpoint.get("global_step")
            if type(epochs) is not int or type(step) is not int or min(epochs, step) < 0:
                raise DamagedCheckpoint(f"{path} is damaged: it does not name its epoch.")
        except DamagedCheckpoint as error:
            damage = damage or error
            continue
        if damage:
            warn(f"{damage} Resuming from {path}, after epoch {epochs + 1}.")
        return path, epochs + 1, step
    if damage:
        raise UserError(f"{damage} Put an intact one there, or name another --run_dir.")
    return None, 0, 0
