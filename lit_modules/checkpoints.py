"""Reads untrusted checkpoints: plain data only, every byte verified."""

import pickle
import re
import warnings
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import torch
from torch import Tensor

from terminal.errors import UserError

# The first bytes of files by torch.save before version 1.6: a pickled number.
OLD_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."

# Keys that hold the weights, and prefixes of parameter names, added by a LightningModule,
# DataParallel or torch.compile.
WEIGHT_KEYS = ("state_dict", "model_state_dict", "model")
PREFIXES = ("net.", "module.", "_orig_mod.", "model.")
# torchvision's DenseNet files are older than its names: norm.1 is norm1.
OLD_DENSE_LAYER = r"(denselayer\d+\.(?:norm|relu|conv))\.([12]\.)"

NAME_ITS_CONFIG = (
    "does not describe its network: name its config by --config, one of configs/ or the "
    "config.yaml of a run. To start a training from weights, use --init_from."
)
WEIGHTS_ALONE = f"holds weights alone, and {NAME_ITS_CONFIG}"


class DamagedCheckpoint(UserError):
    """A file that is incomplete, damaged, or not a checkpoint."""


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Reads a checkpoint's plain data; tensors are memory-mapped, on the CPU.

    Verifies the checksums of all bytes, which `torch.load` does not do. Nothing in the file is
    executed.

    Raises:
        UserError: If there is no checkpoint at `path`, or it holds more than plain data.
        DamagedCheckpoint: If it is damaged.
    """
    start = _first_bytes(path)
    if start == OLD_MAGIC:
        raise UserError(f"{path} is in the format of torch before 1.6, and {NAME_ITS_CONFIG}")
    if _is_safetensors(start):
        raise UserError(f"{path} {WEIGHTS_ALONE}")
    checkpoint = _read_archive(path)
    if not isinstance(checkpoint, dict) or "state_dict" not in checkpoint:
        if _are_weights(_unwrapped(checkpoint)):
            raise UserError(f"{path} {WEIGHTS_ALONE}")
        raise UserError(f"{path} is not a checkpoint of this project: it has no state_dict.")
    if not _are_weights(checkpoint["state_dict"]):
        raise DamagedCheckpoint(f"{path} is damaged: its state_dict does not hold weights.")
    return checkpoint


def read_weights(path: Path) -> dict[str, Tensor]:
    """Reads the weights of a network from any supported file, by parameter name.

    Supported are a checkpoint of this project, a `state_dict` saved by any version of `torch.save`,
    alone or in a dict with other entries, and a safetensors file. Nothing in the file is executed.

    Raises:
        UserError: If there are no weights at `path`.
    """
    start = _first_bytes(path)
    if start == OLD_MAGIC:
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            raise UserError(_more_than_data(path)) from error
        except Exception as error:  # anything, on a damaged file
            raise DamagedCheckpoint(f"{path} holds no weights, or is damaged.") from error
    elif _is_safetensors(start):
        content = _read_safetensors(path)
    else:
        content = _read_archive(path)
    content = _unwrapped(content)
    if not _are_weights(content) or not content:
        raise UserError(
            f"{path} holds no weights with names: save them by torch.save(net.state_dict(), path)."
        )
    return {re.sub(OLD_DENSE_LAYER, r"\1\2", name): tensor for name, tensor in content.items()}


def without_prefixes(weights: dict[str, Tensor], names: Set[str]) -> dict[str, Tensor]:
    """Removes what wrappers of a network add to its names, and what is beside it in them.

    Args:
        weights: Tensors by parameter name.
        names: The names of the network, which may start with such a prefix themselves.
    """
    while names.isdisjoint(weights):
        prefix = next((p for p in PREFIXES if any(n.startswith(p) for n in weights)), None)
        if prefix is None:
            break
        weights = {
            name.removeprefix(prefix): tensor
            for name, tensor in weights.items()
            if name.startswith(prefix)
        }
    return weights


def _unwrapped(content: Any) -> Any:
    """The weights in a dict with other entries, or else `content` itself."""
    for name in WEIGHT_KEYS:
        if isinstance(content, Mapping) and isinstance(content.get(name), Mapping):
            content = content[name]
    return content


def _is_safetensors(start: bytes) -> bool:
    return start[8:9] == b"{"  # a JSON header follows its length


def _read_safetensors(path: Path) -> Any:
    try:
        from safetensors.torch import load_file
    except ImportError as error:
        raise UserError(f"{path} needs safetensors: pip install safetensors.") from error
    try:
        return load_file(path)
    except Exception as error:  # anything, on a damaged file
        raise DamagedCheckpoint(f"{path} holds no weights, or is damaged.") from error


def _first_bytes(path: Path) -> bytes:
    if path.is_dir():
        raise UserError(
            f"{path} is a folder: name a checkpoint, such as {path}/checkpoints/best.ckpt."
        )
    if not path.exists():
        raise UserError(f"there is no checkpoint {path}.")
    if not path.is_file():
        raise UserError(f"{path} is not a file.")  # opening a pipe would block
    try:
        with open(path, "rb") as file:
            return file.read(len(OLD_MAGIC))
    except OSError as error:
        raise UserError(f"cannot read the checkpoint: {error}.") from error


def _read_archive(path: Path) -> Any:
    """Reads a file of `torch.save`: verifies every byte and executes nothing."""
    try:
        with ZipFile(path) as archive:
            # torch.save does not compress: compressed parts could extract to any size.
            if any(part.compress_type for part in archive.infolist()) or archive.testzip():
                raise BadZipFile
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's warnings about the content
            return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        raise UserError(_more_than_data(path)) from error
    except Exception as error:  # anything, on a damaged file
        raise DamagedCheckpoint(f"{path} is not a checkpoint, or a damaged one.") from error


def _more_than_data(path: Path) -> str:
    return (
        f"{path} holds more than plain data{_code_in(path)}. It is refused, and nothing in it was "
        "executed. Save only the weights of a network: torch.save(net.state_dict(), path)."
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
    """Lists the functions that unpickling would call, if torch can find them."""
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # anything, on such a file
        return ""
    return f" ({', '.join(names)})" if names else ""
