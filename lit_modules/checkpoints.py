"""Reads checkpoints that need not be trusted: plain data, every byte verified."""

import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import torch
from torch import Tensor

from terminal.errors import UserError

# What torch.save wrote first before its files were archives: a pickled number.
OLD_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."

# What weights are found under, and what wrappers put before their names: of a LightningModule, of
# DataParallel, of torch.compile.
WRAPPED_IN = ("state_dict", "model_state_dict", "model")
PREFIXES = ("net.", "module.", "_orig_mod.", "model.")

NAME_ITS_CONFIG = (
    "does not say what network it is of: name its config by --config, one of configs/ or the "
    "config.yaml of a run. A training starts from weights by --init_from."
)
WEIGHTS_ALONE = f"holds weights alone, and {NAME_ITS_CONFIG}"


class DamagedCheckpoint(UserError):
    """A file that is incomplete, damaged, or no checkpoint."""


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Reads a checkpoint's plain data; tensors are memory-mapped, on the CPU.

    Every byte is compared with its checksum, which `torch.load` does not do. Nothing that is in the
    file is executed.

    Raises:
        UserError: If there is no checkpoint at `path`, or one that holds more than plain data.
        DamagedCheckpoint: If it is not whole.
    """
    start = _first_bytes(path)
    if start == OLD_MAGIC:
        raise UserError(f"{path} is of a torch before 1.6, and {NAME_ITS_CONFIG}")
    if _is_safetensors(start):
        raise UserError(f"{path} {WEIGHTS_ALONE}")
    checkpoint = _read_archive(path)
    if not isinstance(checkpoint, dict) or "state_dict" not in checkpoint:
        if _are_weights(_unwrapped(checkpoint)):
            raise UserError(f"{path} {WEIGHTS_ALONE}")
        raise UserError(f"{path} is not a checkpoint of this project: it has no state_dict.")
    if not _are_weights(checkpoint["state_dict"]):
        raise DamagedCheckpoint(f"{path} is damaged: its state_dict is not one of weights.")
    return checkpoint


def read_weights(path: Path) -> dict[str, Tensor]:
    """Reads the weights of a network, whoever saved them, by their names in it.

    From a checkpoint of this project, a `state_dict` that `torch.save` wrote, alone or in a dict
    with other things, of any version of torch, or a safetensors file. The prefixes that wrappers
    put before names are taken away. Nothing that is in the file is executed.

    Raises:
        UserError: If there are no weights at `path`.
    """
    start = _first_bytes(path)
    if start == OLD_MAGIC:
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            raise UserError(_more_than_data(path)) from error
        except Exception as error:  # whatever torch makes of what anybody has made
            raise DamagedCheckpoint(f"{path} holds no weights, or is damaged.") from error
    elif _is_safetensors(start):
        content = _read_safetensors(path)
    else:
        content = _read_archive(path)
    content = _unwrapped(content)
    if not _are_weights(content) or not content:
        raise UserError(
            f"{path} holds no weights by their names: save them by torch.save(net.state_dict(), "
            "path)."
        )
    weights = dict(content)
    while prefix := next((p for p in PREFIXES if all(n.startswith(p) for n in weights)), None):
        weights = {name.removeprefix(prefix): tensor for name, tensor in weights.items()}
    return weights


def _unwrapped(content: Any) -> Any:
    """The weights of a dict that holds other things too, or what was given."""
    for name in WRAPPED_IN:
        if isinstance(content, Mapping) and isinstance(content.get(name), Mapping):
            content = content[name]
    return content


def _is_safetensors(start: bytes) -> bool:
    return start[8:9] == b"{"  # after the length of the header


def _read_safetensors(path: Path) -> Any:
    try:
        from safetensors.torch import load_file
    except ImportError as error:
        raise UserError(f"{path} is read by safetensors: pip install safetensors.") from error
    try:
        return load_file(path)
    except Exception as error:  # whatever it makes of what anybody has made
        raise DamagedCheckpoint(f"{path} holds no weights, or is damaged.") from error


def _first_bytes(path: Path) -> bytes:
    if path.is_dir():
        raise UserError(
            f"{path} is a folder: name a checkpoint, such as {path}/checkpoints/best.ckpt."
        )
    if not path.exists():
        raise UserError(f"there is no checkpoint {path}.")
    if not path.is_file():
        raise UserError(f"{path} is no file.")  # opening a pipe would block
    try:
        with open(path, "rb") as file:
            return file.read(len(OLD_MAGIC))
    except OSError as error:
        raise UserError(f"cannot read the checkpoint: {error}.") from error


def _read_archive(path: Path) -> Any:
    """Reads what `torch.save` wrote, every byte verified, and nothing executed."""
    try:
        with ZipFile(path) as archive:
            # torch compresses nothing: what is compressed here may be as large as it likes.
            if any(part.compress_type for part in archive.infolist()) or archive.testzip():
                raise BadZipFile
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch, about what it checks
            return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        raise UserError(_more_than_data(path)) from error
    except Exception as error:  # whatever torch makes of what anybody has made
        raise DamagedCheckpoint(f"{path} is not a checkpoint, or a damaged one.") from error


def _more_than_data(path: Path) -> str:
    return (
        f"{path} holds more than plain data{_code_in(path)}. It is refused, and nothing in it was "
        "executed. Of a network, save the weights alone: torch.save(net.state_dict(), path)."
    )


def _are_weights(found: Any) -> bool:
    """Whether `found` is a mapping of names to dense tensors, none larger than its storage."""
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
    """The functions that unpickling would call, as far as torch can list them."""
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # whatever such a file brings about
        return ""
    return f" ({', '.join(names)})" if names else ""
