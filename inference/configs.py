"""Builds the network of a config without training it."""

from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentParser, Namespace

from datamodules import InMemoryDataModule
from lit_modules import LitClassifier
from lit_modules.hyperparameters import ask_no_other_python
from terminal.arguments import check_files
from terminal.errors import UserError

PARTS = ("model", "data")


def read_config(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Reads the model and data sections of a config.

    Args:
        path: A config in `configs`, or the `config.yaml` of a run.

    Returns:
        `class_path` and `init_args` of the model and of the data.

    Raises:
        UserError: If it is not a training config.
    """
    check_files(["--config", str(path)])
    if not path.exists():
        raise UserError(f"there is no config {path}.")
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    found = [content.get(key) if isinstance(content, dict) else None for key in PARTS]
    found = [{"class_path": part} if isinstance(part, str) else part for part in found]
    for part in found:
        is_class = isinstance(part, dict) and "." in str(part.get("class_path"))
        if not is_class or not isinstance(part.get("init_args", {}), dict):
            raise UserError(
                f"{path} is not a training config: it must name a class_path of the model and one "
                "of the data, as configs/lenet.yaml does."
            )
    model, data = ({"init_args": {}} | part for part in found)
    return model, data


def build_classifier(model: dict[str, Any], data: InMemoryDataModule) -> LitClassifier:
    """Builds the classifier of a config, for the images of a data module."""
    net = model["init_args"].get("net")
    of_net = (net.get("init_args") or {}) if isinstance(net, dict) else {}
    given = {f"model.{name}" for name in model["init_args"]}
    ask_no_other_python()
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(LitClassifier, "model", fail_untyped=False)
    parsed = parser.parse_object({"model": model})
    follow_the_data(parsed.model, data, given | {f"model.net.{name}" for name in of_net})
    return parser.instantiate_classes(parsed).model


def follow_the_data(model: Namespace, data: InMemoryDataModule, given: set[str]) -> None:
    """Sets the numbers of classes and of input channels that the user has not set.

    Args:
        model: The parsed model section of a config, with defaults; changed in place.
        data: The data module.
        given: The keys that the user has set, such as `model.net.num_classes`.
    """
    facts = {"num_classes": len(data.classes), "in_channels": data.channels}
    of_model = model.init_args
    for key, part in (("model", of_model), ("model.net", of_model.net.get("init_args", {}))):
        for name, value in facts.items():
            if name in part and f"{key}.{name}" not in given:
                part[name] = value
    is_hidden = "num_classes" not in of_model.net.get("init_args", {})
    if is_hidden and of_model.net.class_path.startswith("torchvision.models."):
        # Some torchvision networks take it in **kwargs, which the parser cannot see.
        kept = of_model.net.get("dict_kwargs") or {}
        of_model.net["dict_kwargs"] = {"num_classes": facts["num_classes"]} | kept
