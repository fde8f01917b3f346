"""A LightningModule that is built again from its checkpoint, which need not be trusted."""

import importlib
import inspect
from argparse import ArgumentError
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, Self

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.core.saving import _load_state

from lit_modules.hyperparameters import UntrustedError, building, check_hyperparameters

INSTANTIATOR = "lightning.pytorch.cli.instantiate_module"  # of what stands in a config
NOT_LOOKED_AT = ("hparams", "module_arguments", "hparams_name", "hparams_type")


class FromCheckpoint(LightningModule):
    """Reads checkpoints as plain data, and builds what they name only if that may be built."""

    _config_of_net: Any

    @classmethod
    def load_from_checkpoint(
        cls,
        checkpoint_path: str | Path | IO[bytes],
        map_location: Any = "cpu",
        strict: bool | None = None,
        weights_only: bool = True,
        trust_classes: bool = False,
        **kwargs: Any,
    ) -> Self:
        """Loads a trained network from a checkpoint, which need not be trusted.

        Args:
            checkpoint_path: The file.
            map_location: The device it is loaded to.
            strict: Whether its weights must be those of the network, all of them.
            weights_only: True: a checkpoint of this project is plain data, and read as such.
            trust_classes: See `check_hyperparameters`.
            kwargs: Arguments instead of the checkpoint's; `net` where it was built by hand.

        Raises:
            ValueError: If it names what it may not, lacks its network, or is damaged.
            pickle.UnpicklingError: If it holds more than plain data.
        """
        if not weights_only:
            raise ValueError("checkpoints are read with weights_only=True, and hold plain data")
        content = torch.load(checkpoint_path, map_location=map_location, weights_only=True)
        try:
            return cls.restore(content, strict, trust_classes, **kwargs)
        except UntrustedError as error:
            raise UntrustedError(
                f"{checkpoint_path}: {error}. If you trust where it is from: trust_classes=True"
            ) from error

    @classmethod
    def restore(
        cls,
        checkpoint: dict[str, Any],
        strict: bool | None = None,
        trust_classes: bool = False,
        **kwargs: Any,
    ) -> Self:
        """Builds a trained network from a checkpoint's content; every other way leads here."""
        settings = check_hyperparameters(
            checkpoint.get(cls.CHECKPOINT_HYPER_PARAMS_KEY, {}), trust_classes
        )
        kind = cls
        if "_class_path" in settings:
            module, _, name = settings["_class_path"].rpartition(".")
            kind = getattr(importlib.import_module(module), name)
        if not (isinstance(kind, type) and issubclass(kind, cls)):
            raise ValueError(f"it is of {kind}, which is no {cls.__name__}")
        if "state_dict" not in checkpoint:
            raise ValueError("it is no checkpoint of a training: there is no state_dict in it")
        net = inspect.signature(kind).parameters.get("net")
        if net and net.default is net.empty and "net" not in settings | kwargs:
            raise ValueError(
                "the network of this checkpoint was built in Python: build it again, and give it "
                "as net=..."
            )
        # Lightning also looks where it once kept hyperparameters; nobody has looked at those.
        kept = {key: value for key, value in checkpoint.items() if key not in NOT_LOOKED_AT}
        kept[cls.CHECKPOINT_HYPER_PARAMS_KEY] = {
            key: value for key, value in settings.items() if key != "_class_path"
        } | ({"_instantiator": INSTANTIATOR} if "net" in settings else {})
        try:
            with building(checkpoint["state_dict"]):
                classifier = _load_state(kind, kept, strict, **kwargs)
        except ArgumentError as error:
            raise ValueError(str(error)) from error
        classifier._config_of_net = settings.get("net")
        return classifier

    @property
    def net_name(self) -> str:
        """Name of the network: of the function or class that a config names, or of its class."""
        named = self._config_of_net
        path = named.get("class_path", "") if isinstance(named, Mapping) else ""
        return str(path).rpartition(".")[2] or type(self.net).__name__
