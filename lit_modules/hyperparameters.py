"""Checks the hyperparameters of an untrusted checkpoint before a network is built from them."""

import importlib
import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, get_type_hints

from jsonargparse import _stubs_resolver
from lightning.pytorch import LightningDataModule
from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_buffer_registration_hook,
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torchvision.datasets import VisionDataset
from typeshed_client import get_search_context

from lit_modules.schedules import Schedules, WarmupCosine

# Allowed without `trust_classes`: from these modules, classes of networks, data, optimizers and
# schedules, and functions that make networks.
TRUSTED = (
    *("lit_modules.", "models.", "datamodules.", "torch.nn.", "torch.optim."),
    *("torchvision.models.", "torchvision.datasets.", "torchmetrics.classification."),
    "kornia.losses.",
    "lightning.pytorch.cli.instantiate_module",
)
TRUSTED_CLASSES = (
    nn.Module,
    LightningDataModule,
    VisionDataset,
    Optimizer,
    LRScheduler,
    WarmupCosine,
    Schedules,
)
ALSO_TRUSTED = ("lightning.pytorch.cli.instantiate_module",)
# Arguments for which torchvision's networks download weights.
DOWNLOADED = ("weights", "weights_backbone", "pretrained", "pretrained_backbone")
PATTERNS = ("trainable",)  # arguments that are patterns, not names to import
DEPTH = 32  # of nested values
VALUES = 10_000  # in all, counting repeated references


class UntrustedError(ValueError):
    """A checkpoint names classes that are allowed only if the user trusts it."""


def is_plain(value: Any) -> bool:
    """Whether a value is plain: None, bool, int, float, str, or lists and dicts of them."""
    left = VALUES

    def check(value: Any, depth: int) -> bool:
        nonlocal left
        left -= 1
        if left < 0:
            return False
        if isinstance(value, dict) and depth < DEPTH:
            return all(isinstance(k, str) and check(v, depth + 1) for k, v in value.items())
        if isinstance(value, list | tuple) and depth < DEPTH:
            return all(check(item, depth + 1) for item in value)
        return value is None or type(value) in (bool, int, float, str)

    return check(value, 0)


def check_hyperparameters(found: Any, trust_classes: bool = False) -> dict[str, Any]:
    """Checks that hyperparameters are plain values and name only allowed classes.

    Args:
        found: The hyperparameters in a checkpoint.
        trust_classes: Whether to allow classes from outside torch, torchvision, Lightning and this
            project, and downloads of weights. Importing and calling such classes runs code.

    Returns:
        `found`.

    Raises:
        ValueError: If they are not plain values.
        UntrustedError: If they name something else without `trust_classes`.
    """
    if not isinstance(found, dict) or not is_plain(found):
        raise ValueError("its hyperparameters are not plain values with names")
    if not trust_classes:
        foreign = sorted({name for name in _names(found) if not _is_trusted(name)})
        if foreign:
            raise UntrustedError(
                f"it names {', '.join(foreign)}, which is not from this project, torch, "
                "torchvision or Lightning"
            )
    return found


@contextmanager
def building(state_dict: dict[str, Tensor]) -> Iterator[None]:
    """Stops the construction of a network that is much larger than its weights.

    Raises:
        ValueError: If it is, before memory is full.
    """
    ask_no_other_python()
    modules = 100 + 10 * len(state_dict)
    values = 1_000_000 + 4 * sum(tensor.numel() for tensor in state_dict.values())

    def count(module: nn.Module, name: str, part: Any) -> None:
        nonlocal modules, values
        modules -= isinstance(part, nn.Module)
        values -= part.numel() if isinstance(part, Tensor) else 0
        if modules < 0 or values < 0:
            raise ValueError("its network is much larger than its weights")

    with ExitStack() as at_the_end:
        for register in (
            register_module_module_registration_hook,
            register_module_parameter_registration_hook,
            register_module_buffer_registration_hook,
        ):
            at_the_end.callback(register(count).remove)
        yield


def ask_no_other_python() -> None:
    """Gives jsonargparse the path of type stubs without starting another interpreter.

    It would start one for this, which would import a `json.py` of the current folder.
    """
    if not _stubs_resolver.stubs_resolver:
        context = get_search_context(search_path=[Path(path) for path in sys.path if path])
        _stubs_resolver.stubs_resolver = _stubs_resolver.StubsResolver(search_context=context)


def _is_trusted(name: str) -> bool:
    """Whether an object belongs to a network or its training, and a trusted module defines it."""
    module, _, attribute = name.rpartition(".")
    try:
        if not name.startswith(TRUSTED) or not find_spec(module):
            return False
        found = getattr(importlib.import_module(module), attribute)
        # Only the module's own definitions: through its imports, any object could be named.
        own = f"{found.__module__}.{found.__qualname__}"
        if not own.startswith(TRUSTED) or any(part.startswith("_") for part in own.split(".")[-1:]):
            return False
        if isinstance(found, type):
            return issubclass(found, TRUSTED_CLASSES)
        makes = get_type_hints(found).get("return")
    except (ImportError, AttributeError, ValueError, TypeError, NameError):
        return False
    is_maker = isinstance(makes, type) and issubclass(makes, nn.Module)
    return is_maker or own in ALSO_TRUSTED or own.startswith("torch.nn.functional.")


def _names(value: Any, key: str = "") -> Iterator[str]:
    """Every string that could be imported or parsed as YAML: all but single words."""
    if key in DOWNLOADED and value:
        yield f"{key}={value}"
    elif isinstance(value, str):
        if key not in PATTERNS and not re.fullmatch(r"[\w+-]*", value):
            yield value
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from _names(item, name)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _names(item, key if key in PATTERNS else "")
