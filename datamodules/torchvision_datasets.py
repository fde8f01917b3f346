"""Any classification dataset of torchvision."""

import hashlib
import importlib
import inspect
import json
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torchvision
from filelock import FileLock
from torch import Tensor, nn
from torchvision.datasets import MNIST, VisionDataset

from datamodules.batches import Split
from datamodules.decoded_images import SIZE, DecodedImages, hold_out
from datamodules.image_cache import Decoded, ImageCache, cache_folder
from datamodules.image_files import fitted
from datamodules.published_files import DatasetError
from terminal.atomic import write_atomically

PROBED = 8  # images, to tell whether all have the same size, and whether all are gray
GRAY = ("1", "L", "I;16", "I")  # modes
# Torchvision's names of the splits.
NAMES = {
    "train": ("train", "trainval", "train-standard"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "val", "valid"),
}
LABELS = ("targets", "labels", "_labels", "y")  # attributes that may hold all labels


class Torchvision(DecodedImages):
    """A classification dataset of `torchvision.datasets`, downloaded if it supports that.

    Its own splits are used; if there is none for validation or test, 10 % of the training images
    are held out, stratified by class, the same ones for every seed. Images that all have the same
    size keep it; others are resized so that the shorter side is `image_size`, and center-cropped.
    They are decoded once, like those of `ImageFolder`.

    Args:
        dataset: The class, such as torchvision.datasets.CIFAR10.
        root: Folder of the datasets; None means `DATA_ROOT` of the environment, else `data`.
        options: Further arguments of the class, such as {split: letters} for EMNIST.
        batch_size: Samples of one optimizer step, over all devices and accumulated micro-batches.
        image_size: Side that images are resized to; None keeps a common size, or means 224.
        channels: 1 reads the images as gray, 3 repeats a gray channel; None keeps their own.
        augment: Modules that augment a training batch of images in [0, 1], (N, C, H, W).
        mix: Modules that mix a training batch and its labels, as torchvision's `v2.MixUp`.
        cache: Folder of the decoded images; None means `<root>/.decoded`.

    Raises:
        ValueError: If a value is out of range, or `dataset` is not such a class.
        DatasetError: In `prepare_data` and `setup`, if the dataset cannot be loaded, or its labels
            are not classes.
    """

    downloads = True  # False for an untrusted checkpoint

    def __init__(
        self,
        dataset: str,
        root: str | None = None,
        options: dict[str, Any] | None = None,
        batch_size: int = 128,
        image_size: int | None = None,
        channels: Literal[1, 3] | None = None,
        augment: list[nn.Module] | None = None,
        mix: nn.Module | list[nn.Module] | None = None,
        cache: str | None = None,
    ) -> None:
        super().__init__(batch_size, image_size, channels, augment, mix)
        self.dataset = dataset
        self.kind = _class_of(dataset)
        self.options = options or {}
        self.root = Path(root or os.environ.get("DATA_ROOT") or "data")
        self.cache = cache_folder(self.root, cache)

    def look(self) -> dict[str, Any]:
        train = self._datasets["train"]
        # From all over it, as a dataset is often sorted by class.
        probed = torch.linspace(0, len(train) - 1, min(PROBED, len(train))).long().tolist()
        images = [train[index][0] for index in probed]
        width, height = images[0].size
        is_of_one_size = width == height and all(image.size == images[0].size for image in images)
        is_gray = all(image.mode in GRAY for image in images)
        return {
            "name": self.kind.__name__,
            "classes": self._class_names(),
            "native_size": width if is_of_one_size else self._image_size or SIZE,
            "native_channels": self._channels or (1 if is_gray else 3),
        }

    @property
    def split_off(self) -> list[str]:
        return [name for name in ("val", "test") if name not in self._datasets]

    def load(self, stage: Literal["fit", "test"]) -> dict[str, Split]:
        names = ("test",) if stage == "test" else ("train", "val")
        return {name: self._split(name) for name in names}

    def decode(self, split: str) -> Decoded:
        of, indices = self._parts[split]
        dataset, size, channels = self._datasets[of], self.native_size, self.native_channels
        labels = self._labels[of].tolist()
        sources = [f"{index}: {labels[index]}" for index in indices]
        made_of = (self.dataset, self.options, of, sources, torchvision.__version__)
        return ImageCache(self.cache / self.kind.__name__, size, channels).read(
            split,
            sources,
            fingerprint=repr(made_of),
            decode=lambda index: fitted(dataset[indices[index]][0], size, channels),
            threads=1,  # some datasets use the global random generator
        )

    def _split(self, name: str) -> Split:
        decoded, (of, indices) = self.decoded(name), self._parts[name]
        return Split(decoded.images, self._labels[of][torch.tensor(indices)])

    @cached_property
    def _datasets(self) -> dict[str, VisionDataset]:
        """Torchvision's datasets by our names of the splits, without missing splits."""
        parameters = inspect.signature(self.kind).parameters
        options: dict[str, Any] = dict(self.options)
        if "root" in parameters:
            options["root"] = str(self.root)
        if can_download := "download" in parameters or issubclass(self.kind, MNIST):
            options["download"] = False
        if "split" in parameters and "split" not in options:
            by_split = {of: {"split": name} for of, name in self._names_of_splits().items()}
        elif "train" in parameters or issubclass(self.kind, MNIST):
            by_split = {"train": {"train": True}, "test": {"train": False}}
        else:
            by_split = {"train": {}}
        if "train" not in by_split:
            raise DatasetError(
                f"{self.dataset} has no split for training of its own: name one of its splits by "
                '--data.options, such as \'{"split": "letters"}\' of EMNIST.'
            )

        def open_all() -> dict[str, VisionDataset]:
            return {of: self.kind(**options, **which) for of, which in by_split.items()}

        try:
            if not (can_download and self.downloads):
                return open_all()
            with suppress(Exception):  # without a lock: the folder may be read-only
                return open_all()
            options["download"] = True
            self.root.mkdir(parents=True, exist_ok=True)
            with FileLock(self.root / f".{self.kind.__name__}.lock"):
                return open_all()
        except Exception as error:  # dataset classes and downloads raise anything
            reason = str(error).partition("\n")[0].partition(" You can use download")[0].rstrip(".")
            more = ", or arguments of the class with --data.options" if self.downloads else ""
            raise DatasetError(
                f"{self.dataset} cannot be loaded from {self.root}: "
                f"{reason or type(error).__name__}. Name another folder with --data.root{more}."
            ) from error

    def _names_of_splits(self) -> dict[str, str]:
        """The class's names of its splits, from its error message for an unknown split."""
        known = inspect.signature(self.kind).parameters
        given = dict(self.options)
        for name, value in (("root", str(self.root)), ("download", False)):
            if name in known:
                given[name] = value
        names = ["train", "val", "test"]
        try:
            self.kind(**given, split="?")
        except Exception as error:
            told = re.findall(r"'([\w-]+)'", str(error).rpartition("alid values are")[2])
            names = told or names
        chosen = {of: next((name for name in NAMES[of] if name in names), "") for of in NAMES}
        if chosen["val"] == chosen["test"]:
            del chosen["val"]  # the only split for the test
        return {of: name for of, name in chosen.items() if name}

    @cached_property
    def _labels(self) -> dict[str, Tensor]:
        return {name: self._labels_of(name) for name in self._datasets}

    def _labels_of(self, of: str) -> Tensor:
        """The labels of a dataset, int64 (N,); those that only its items have are cached."""
        dataset = self._datasets[of]
        for attribute in LABELS:
            held = getattr(dataset, attribute, None)
            if held is not None and len(held) == len(dataset) and np.ndim(held) == 1:
                return _as_classes(self.dataset, held)
        made_of = repr((self.dataset, self.options, of, len(dataset), torchvision.__version__))
        digest = hashlib.sha256(made_of.encode()).hexdigest()[:16]
        kept = self.cache / self.kind.__name__ / f"{of}-{digest}.labels"
        with suppress(OSError, ValueError, TypeError):
            return _as_classes(self.dataset, json.loads(kept.read_text(encoding="utf-8")))
        labels = _as_classes(self.dataset, [dataset[index][1] for index in range(len(dataset))])
        with suppress(OSError):  # they are only read again
            write_atomically(
                kept, lambda path: path.write_text(json.dumps(labels.tolist()), encoding="utf-8")
            )
        return labels

    @cached_property
    def _parts(self) -> dict[str, tuple[str, list[int]]]:
        """For each split, the torchvision dataset and the indices in it."""
        parts = {name: (name, list(range(len(of)))) for name, of in self._datasets.items()}
        held_out = hold_out(self._labels["train"], self.split_off)
        return parts | {name: ("train", indices.tolist()) for name, indices in held_out.items()}

    def _class_names(self) -> list[str]:
        """The names of the classes, or their numbers if the dataset has no names."""
        number = max(int(labels.max()) for labels in self._labels.values()) + 1
        names = getattr(self._datasets["train"], "classes", None)
        is_list = isinstance(names, Sequence) and len(names) >= number
        if is_list and all(isinstance(name, str) for name in names):
            return list(names)
        return [str(label) for label in range(number)]


def _class_of(dataset: str) -> type[VisionDataset]:
    module, _, name = dataset.rpartition(".")
    if name in ("ImageFolder", "DatasetFolder"):
        raise ValueError(f"dataset {dataset} is a folder of images: use datamodules.ImageFolder")
    if module == "torchvision.datasets" or module.startswith("torchvision.datasets."):
        found = getattr(importlib.import_module(module), name, None)
        if isinstance(found, type) and issubclass(found, VisionDataset):
            return found
    raise ValueError(
        f"dataset must be a class of torchvision.datasets, such as torchvision.datasets.CIFAR10, "
        f"got {dataset}"
    )


def _as_classes(name: str, held: Any) -> Tensor:
    """Labels of any kind as int64 (N,)."""
    try:
        labels = torch.as_tensor(np.asarray(held))
    except (TypeError, ValueError) as error:
        raise DatasetError(f"the labels of {name} are not classes: {error}.") from error
    if labels.ndim != 1 or labels.dtype.is_floating_point or labels.dtype.is_complex:
        kind = str(labels.dtype).removeprefix("torch.")
        raise DatasetError(f"the labels of {name} are not classes, but {kind}.")
    return labels.long()
