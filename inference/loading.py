"""A network, and the data it was trained on, out of a checkpoint that may be anybody's."""

import importlib
import re
from argparse import ArgumentError
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lightning.pytorch.cli import instantiate_module

import datamodules
from datamodules import InMemoryDataModule
from lit_modules import LitClassifier
from training.checkpoints import read_checkpoint
from training.errors import UserError, raising

# What a checkpoint may name without being asked about: classes that only make networks and images,
# and how networks are trained.
TRUSTED = (
    *("lit_modules.", "models.", "datamodules.", "torch.nn.", "torch.optim."),
    *("torchvision.models.", "lightning.pytorch.cli.instantiate_module"),
)
DEPTH = 32  # of hyperparameters within hyperparameters
CANNOT_BE_BUILT = (
    *(ValueError, TypeError, KeyError, RuntimeError, ImportError, AttributeError, ArgumentError),
)


def load(
    path: Path,
    dataset: str | None = None,
    root: str | None = None,
    trust_classes: bool = False,
) -> tuple[LitClassifier, InMemoryDataModule]:
    """The network of a checkpoint, in eval mode on the CPU, and its data module.

    Args:
        path: The checkpoint.
        dataset: Name of another data module, such as FashionMNIST, with images of the same size.
        root: Folder of the datasets, where the data module has one.
        trust_classes: Whether its classes may be of others than torch, torchvision, Lightning and
            this project. Importing and calling them is running code.

    Raises:
        UserError: If the file is no checkpoint, is damaged, holds code, names such a class without
            `trust_classes`, or is of a network that was built by hand.
    """
    checkpoint = read_checkpoint(path)
    of_net = checkpoint.get(LitClassifier.CHECKPOINT_HYPER_PARAMS_KEY, {})
    of_data = checkpoint.get(InMemoryDataModule.CHECKPOINT_HYPER_PARAMS_KEY, {})
    if not all(isinstance(found, dict) and _is_plain(found) for found in (of_net, of_data)):
        raise UserError(f"{path} is damaged: its hyperparameters are no names with values.")
    if "net" not in of_net or "_class_path" not in of_data:
        raise UserError(
            f"the network of {path} was built by hand and is not written down in it: in Python, "
            "LitClassifier.load_from_checkpoint(path, net=...)."
        )
    foreign = sorted({name for name in _names([of_net, of_data]) if not _is_trusted(name)})
    if foreign and not trust_classes:
        raise UserError(
            f"{path} names {', '.join(foreign)}, which is neither of this project nor of torch, "
            "torchvision or Lightning. If you trust where the file is from: --trust_classes."
        )
    with raising(*CANNOT_BE_BUILT):
        # `load_from_checkpoint` would add what stands where Lightning once kept hyperparameters,
        # which nobody has looked at.
        settings = {key: value for key, value in of_net.items() if key != "_instantiator"}
        classifier = instantiate_module(LitClassifier, settings)
        classifier.load_state_dict(checkpoint["state_dict"])
        data = _build_data(of_data, dataset, root)
    if len(data.classes) != classifier.hparams.num_classes:
        raise UserError(
            f"the network tells {classifier.hparams.num_classes} classes apart, and {data.name} "
            f"has {len(data.classes)}."
        )
    return classifier.eval(), data


def _build_data(
    hyperparameters: dict[str, Any], dataset: str | None, root: str | None
) -> InMemoryDataModule:
    module, _, name = hyperparameters["_class_path"].rpartition(".")
    data_class = getattr(importlib.import_module(module), name)
    if dataset:
        of_ours = {kind.name: kind for kind in vars(datamodules).values() if _is_dataset(kind)}
        if dataset not in of_ours:
            raise UserError(f"there is no dataset {dataset}: {', '.join(sorted(of_ours))}.")
        data_class = of_ours[dataset]
    if not (isinstance(data_class, type) and issubclass(data_class, InMemoryDataModule)):
        raise UserError(f"{hyperparameters['_class_path']} is no data module.")
    options = {key: value for key, value in hyperparameters.items() if not key.startswith("_")}
    if root:
        options["root"] = root
    return data_class(**options)


def _is_dataset(value: Any) -> bool:
    is_class = isinstance(value, type) and issubclass(value, InMemoryDataModule)
    return is_class and "name" in vars(value)


def _is_plain(value: Any, depth: int = 0) -> bool:
    if isinstance(value, dict) and depth < DEPTH:
        return all(isinstance(k, str) and _is_plain(v, depth + 1) for k, v in value.items())
    if isinstance(value, list | tuple) and depth < DEPTH:
        return all(_is_plain(item, depth + 1) for item in value)
    return value is None or type(value) in (bool, int, float, str)


def _is_trusted(name: str) -> bool:
    """Whether this is a class or a function that a trusted module itself defines."""
    module, _, attribute = name.rpartition(".")
    try:
        # What a module imports is not its own: by way of that, everything could be named.
        if not name.startswith(TRUSTED) or not find_spec(module):
            return False
        found = getattr(importlib.import_module(module), attribute)
        return f"{found.__module__}.{found.__qualname__}".startswith(TRUSTED)
    except (ImportError, AttributeError):
        return False


def _names(value: Any) -> Iterator[str]:
    """Every string that is more than a word: it could be imported, or parsed as YAML."""
    if isinstance(value, str):
        if not re.fullmatch(r"[\w+-]*", value):
            yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _names(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _names(item)
