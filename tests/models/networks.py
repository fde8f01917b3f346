"""Finds every network of `models/`: all that take in_channels and num_classes."""

import importlib
import inspect
import pkgutil
from collections.abc import Callable

from torch import nn

import models


def _is_network(value: object, module: str) -> bool:
    if not callable(value) or getattr(value, "__module__", None) != module:
        return False
    parameters = inspect.signature(value).parameters
    return {"in_channels", "num_classes"} <= parameters.keys() and "Head" not in value.__name__


NETWORKS: dict[str, Callable[..., nn.Module]] = {
    f"{info.name}.{name}": value
    for info in pkgutil.iter_modules(models.__path__)
    for name, value in vars(importlib.import_module(f"models.{info.name}")).items()
    if _is_network(value, f"models.{info.name}")
}
