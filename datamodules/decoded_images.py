"""Base class of datasets whose images are decoded once and cached."""

import hashlib
import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from datamodules.batches import choose_stratified
from datamodules.image_cache import Decoded, mean_and_std
from datamodules.in_memory import InMemoryDataModule
from datamodules.published_files import DatasetError

FACTS = ("name", "classes", "mean", "std", "native_size", "native_channels", "digests")
SPLITS = ("train", "val", "test")
LARGEST = 4096  # pixels, largest side
SIZE = 224  # pixels, default side if the images differ in size
HELD_OUT = 10  # percent of the training images, for each missing split


class DecodedImages(InMemoryDataModule):
    """A dataset whose properties come from its images, or from a checkpoint.

    So a checkpoint can be used without the images. A subclass implements `look`, `split_off` and
    `decode`.
    """

    margin = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._known: dict[str, Any] = {}
        self._decoded: dict[str, Decoded] = {}
        super().__init__(*args, **kwargs)
        if (self._image_size or 0) > LARGEST:
            raise ValueError(f"image_size must be at most {LARGEST:,}, got {self._image_size}")

    @abstractmethod
    def look(self) -> dict[str, Any]:
        """The properties in `FACTS` that need no decoded images: names and sizes."""

    @property
    @abstractmethod
    def split_off(self) -> list[str]:
        """The missing splits (val, test), for which training images are held out."""

    @abstractmethod
    def decode(self, split: str) -> Decoded:
        """Returns the images of a split (train, val or test) from the cache, or decodes them."""

    def decoded(self, split: str) -> Decoded:
        """The decoded images of a split."""
        if split not in self._decoded:
            self._decoded[split] = self.decode(split)
        return self._decoded[split]

    @property
    def note(self) -> str:
        """Says which splits are held out from the training images."""
        names = " and ".join(self.split_off)
        return f"{names}: {HELD_OUT} % of train each" if names else ""

    def prepare_data(self) -> None:
        """Decodes all images that are not in the cache; for a trained network, those of the test.

        Raises:
            DatasetError: If the dataset cannot be loaded.
        """
        for split in ("test",) if "mean" in self._known else SPLITS:
            self.decoded(split)

    def setup(self, stage: str) -> None:
        super().setup(stage)
        trained = self._known.get("digests", {})
        if "train" in self.splits or "train" not in trained or "test" not in self.split_off:
            return
        # The test images are held out of the training images: were they the same in training?
        if self.decoded("test").digest != trained["test"]:
            raise DatasetError(
                f"the images of {self.name} have changed since the training, and test images are "
                "held out of them: some may have been trained on. Restore the images, or name a "
                "folder with a split test."
            )

    @property
    def digest(self) -> str:
        """Digest of all images and labels, and of how they are split."""
        return hashlib.sha256("".join(self._fact("digests").values()).encode()).hexdigest()[:16]

    @property
    def name(self) -> str:
        return self._fact("name")

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(self._fact("classes"))

    @property
    def native_size(self) -> int:
        return self._fact("native_size")

    @property
    def native_channels(self) -> int:
        return self._fact("native_channels")

    @property
    def mean(self) -> list[float]:
        """Mean of the training images, per channel."""
        return self._fact("mean")

    @property
    def std(self) -> list[float]:
        """Standard deviation of the training images, per channel."""
        return self._fact("std")

    def state_dict(self) -> dict[str, Any]:
        """The properties by which a checkpoint can be used without the images."""
        return {name: self._fact(name) for name in FACTS}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restores the properties from a checkpoint.

        Raises:
            ValueError: If they are invalid.
            DatasetError: If a resumed training has other images than before.
        """
        _check_facts(state_dict)
        own = self.state_dict() if "train" in self.splits else state_dict
        # A folder may have another name, and older checkpoints have no digests.
        if any(own[key] != value for key, value in state_dict.items() if key != "name"):
            raise DatasetError(
                f"the images of {self.name} have changed since the run started. Start a new run, "
                "or restore the images."
            )
        self._known = {name: state_dict.get(name, {}) for name in FACTS}

    def _fact(self, name: str) -> Any:
        if name not in self._known and name in ("mean", "std"):
            mean, std = mean_and_std(self.decoded("train").histogram)
            self._known |= {"mean": mean, "std": std}
        elif name not in self._known and name == "digests":
            self._known["digests"] = {of: self.decoded(of).digest for of in SPLITS}
        elif name not in self._known:
            self._known |= self.look()
        return self._known[name]


def hold_out(labels: Tensor, split_off: Sequence[str]) -> dict[str, Tensor]:
    """Holds out training samples for the missing splits, stratified by class.

    Args:
        labels: Labels of all training samples, int64 (N,).
        split_off: The missing splits: test, val or both.

    Returns:
        Indices of the samples of each split; `train` keeps the rest.
    """
    number = math.ceil(len(labels) * HELD_OUT / 100)
    left, found = torch.arange(len(labels)), {}
    for name in ("test", "val"):
        if name in split_off:
            is_chosen = choose_stratified(labels[left], number, seed=0)
            found[name], left = left[is_chosen], left[~is_chosen]
    return found | {"train": left}


def _check_facts(facts: dict[str, Any]) -> None:
    """Checks the properties of a dataset in a checkpoint, which may be from anybody."""
    classes, channels = facts.get("classes"), facts.get("native_channels")
    is_list = isinstance(classes, list) and len(classes) > 1
    if not is_list or not all(isinstance(name, str) for name in (*classes, facts.get("name"))):
        raise ValueError("the checkpoint has no class names")
    size = facts.get("native_size")
    if type(size) is not int or not 1 <= size <= LARGEST or channels not in (1, 3):
        raise ValueError("the checkpoint has no valid image size")
    digests = facts.get("digests", {})
    if not isinstance(digests, dict) or not all(isinstance(d, str) for d in digests.values()):
        raise ValueError("the checkpoint has no valid digests of images")
    for key in ("mean", "std"):
        values = facts.get(key)
        is_list = isinstance(values, list) and len(values) == channels
        if not is_list or not all(type(v) is float and math.isfinite(v) for v in values):
            raise ValueError(f"the checkpoint has no {key} for {channels} channels")
