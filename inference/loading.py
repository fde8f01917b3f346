"""Loads a network and its data module from a checkpoint, which may be untrusted."""

import importlib
from argparse import ArgumentError, Namespace
from inspect import Parameter, signature
from pathlib import Path
from typing import Any

from lightning.pytorch.cli import instantiate_module

import datamodules
from datamodules import InMemoryDataModule, Torchvision
from datamodules.decoded_images import DecodedImages
from inference.configs import build_classifier, read_config
from inference.inspection import check_outputs
from lit_modules import LitClassifier
from lit_modules.checkpoints import read_checkpoint, read_weights
from lit_modules.hyperparameters import UntrustedError, check_hyperparameters
from lit_modules.initial_weights import load_whole
from terminal.errors import UserError, raising

BUILD_ERRORS = (
    *(ValueError, TypeError, KeyError, RuntimeError, ImportError, AttributeError, ArgumentError),
)

LOCAL_OPTIONS = ("root", "cache")  # folders of this machine
TRAINING_OPTIONS = ("augment", "mix")
OPTIONAL = Parameter("root", Parameter.KEYWORD_ONLY, default=None)


def load_by_options(options: Namespace) -> tuple[LitClassifier, InMemoryDataModule]:
    """Loads what the options of a `ScriptParser` name; see `load`."""
    return load(
        options.checkpoint,
        getattr(options, "data", None),
        options.root,
        options.trust_classes,
        options.config,
        options.cache,
    )


def load(
    path: Path,
    dataset: str | None = None,
    root: str | None = None,
    trust_classes: bool = False,
    config: Path | None = None,
    cache: str | None = None,
) -> tuple[LitClassifier, InMemoryDataModule]:
    """Loads the network of a checkpoint, in eval mode on the CPU, and its data module.

    Args:
        path: The checkpoint.
        dataset: Name of another data module, such as FashionMNIST, with images of the same size.
        root: Folder of the datasets, if the data module takes one.
        trust_classes: Whether to allow classes from outside torch, torchvision, Lightning and this
            project. Importing and calling them runs code.
        config: A config, trusted as by `train.py`. The file may then hold weights alone, in any
            format of `read_weights`; without a config, the checkpoint names its network.
        cache: Folder of decoded images, if the data module takes one.

    Raises:
        UserError: If the file is not a checkpoint, is damaged, holds code, names such a class
            without `trust_classes`, or belongs to a network that was built in Python.
    """
    folders = {key: folder for key, folder in (("root", root), ("cache", cache)) if folder}
    if config is not None:
        return _load_by_config(path, config, dataset, folders)
    checkpoint = read_checkpoint(path)
    of_net = checkpoint.get(LitClassifier.CHECKPOINT_HYPER_PARAMS_KEY, {})
    of_data = checkpoint.get(InMemoryDataModule.CHECKPOINT_HYPER_PARAMS_KEY, {})
    try:
        for found in (of_net, of_data):
            check_hyperparameters(found, trust_classes)
    except UntrustedError as error:
        raise UserError(
            f"{path}: {error}. If you trust the source of the file: --trust_classes."
        ) from error
    except ValueError as error:
        raise UserError(f"{path} is damaged: {error}.") from error
    if "net" not in of_net or "_class_path" not in of_data:
        raise UserError(
            f"{path} does not describe its network, which was built in Python: name its config by "
            "--config; in Python, LitClassifier.load_from_checkpoint(path, net=...)."
        )
    with raising(*BUILD_ERRORS):
        classifier = LitClassifier.restore(checkpoint, trust_classes=trust_classes)
        data = _build_data(of_data, dataset, folders)
        if isinstance(data, DecodedImages):
            state = checkpoint.get(type(data).__qualname__)
            if not isinstance(state, dict):  # without it, it would read the images
                raise UserError(f"{path} is damaged: it has no properties of its images.")
            data.load_state_dict(state)
        if isinstance(data, Torchvision):
            data.downloads = trust_classes
        check_outputs(classifier, data)
    return classifier.eval(), data


def _load_by_config(
    path: Path, config: Path, dataset: str | None, folders: dict[str, str]
) -> tuple[LitClassifier, InMemoryDataModule]:
    weights = read_weights(path)
    model, of_data = read_config(config)
    options = {k: v for k, v in of_data["init_args"].items() if k not in TRAINING_OPTIONS}
    own = {key: options[key] for key in LOCAL_OPTIONS if options.get(key)}
    with raising(*BUILD_ERRORS, advice=f", in {config}."):
        data = _build_data(options | {"_class_path": of_data["class_path"]}, dataset, own | folders)
        classifier = build_classifier(model, data)
        check_outputs(classifier, data)
    try:
        load_whole(classifier.net, weights)
    except ValueError as error:
        raise UserError(f"{path}: {error}. Name the config that they were trained with.") from error
    return classifier.eval(), data


def _build_data(
    hyperparameters: dict[str, Any], dataset: str | None, folders: dict[str, str]
) -> InMemoryDataModule:
    module, _, name = hyperparameters["_class_path"].rpartition(".")
    data_class = getattr(importlib.import_module(module), name)
    if dataset:
        of_ours = {kind.name: kind for kind in vars(datamodules).values() if _is_dataset(kind)}
        if dataset not in of_ours:
            raise UserError(f"there is no dataset {dataset}: {', '.join(sorted(of_ours))}.")
        data_class = of_ours[dataset]
    if not (isinstance(data_class, type) and issubclass(data_class, InMemoryDataModule)):
        raise UserError(f"{hyperparameters['_class_path']} is not a data module.")
    taken = signature(data_class).parameters
    options = {
        key: value
        for key, value in hyperparameters.items()
        if not key.startswith("_")
        and key not in LOCAL_OPTIONS
        and (key in taken or not dataset)  # another dataset may have other options
    } | {key: folder for key, folder in folders.items() if key in taken}
    if "root" not in options and taken.get("root", OPTIONAL).default is Parameter.empty:
        options["root"] = ""  # the images are not needed
    return instantiate_module(data_class, options)  # checks the types of the options


def _is_dataset(value: Any) -> bool:
    is_class = isinstance(value, type) and issubclass(value, InMemoryDataModule)
    return is_class and isinstance(vars(value).get("name"), str)
