"""The base of datasets whose images are decoded once, and kept in a cache."""

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

FACTS = ("name", "classes", "mean", "std", "native_size", "native_channels")
LARGEST = 4096  # pixels, of a side
SIZE = 224  # pixels, where none is given and images have several
HELD_OUT = 10  # percent of the training images, for each split that there is not


class DecodedImages(InMemoryDataModule):
    """Its facts are those of the images, or those that a checkpoint holds.

    So a checkpoint can be asked without the images. A subclass implements `look`, `split_off` and
    `decode`.
    """

    margin = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._known: dict[str, Any] = {}
        self._decoded: dict[str, Decoded] = {}
        super().__init__(*args, **kwargs)

    @abstractmethod
    def look(self) -> dict[str, Any]:
        """The facts that are known before an image is decoded: all but `mean` and `std`."""

    @property
    @abstractmethod
    def split_off(self) -> list[str]:
        """The splits that there are not, and that training images are held out for."""

    @abstractmethod
    def decode(self, split: str) -> Decoded:
        """Decodes the images of a split, train, val or test, or finds them decoded."""

    def decoded(self, split: str) -> Decoded:
        """The images of a split."""
        if split not in self._decoded:
            self._decoded[split] = self.decode(split)
        return self._decoded[split]

    @property
    def note(self) -> str:
        """Which splits are made of training images."""
        names = " and ".join(self.split_off)
        return f"{names}: {HELD_OUT} % of train each" if names else ""

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
        """Mean of the training images, of each channel."""
        return self._fact("mean")

    @property
    def std(self) -> list[float]:
        """Standard deviation of the training images, of each channel."""
        return self._fact("std")

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint needs to be asked without the images."""
        return {name: self._fact(name) for name in FACTS}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes the facts of a checkpoint.

        Raises:
            ValueError: If they are none.
            DatasetError: If a training goes on, and its images are no longer the same.
        """
        _check_facts(state_dict)
        if "train" in self.splits and self.state_dict() | {"name": ""} != state_dict | {"name": ""}:
            raise DatasetError(
                f"the images of {self.name} are not those that the run was started with. Start "
                "another run, or put them back."
            )
        self._known = {name: state_dict[name] for name in FACTS}

    def _fact(self, name: str) -> Any:
        if name not in self._known and name in ("mean", "std"):
            mean, std = mean_and_std(self.decoded("train").histogram)
            self._known |= {"mean": mean, "std": std}
        elif name not in self._known:
            self._known |= self.look()
        return self._known[name]


def hold_out(labels: Tensor, split_off: Sequence[str]) -> dict[str, Tensor]:
    """Holds out training samples for splits that there are not, of each class its share.

    Args:
        labels: Those of all training samples, int64 (N,).
        split_off: The splits, of test and val.

    Returns:
        Indices of the samples of each, and of `train`, which keeps the rest.
    """
    number = math.ceil(len(labels) * HELD_OUT / 100)
    left, found = torch.arange(len(labels)), {}
    for name in ("test", "val"):
        if name in split_off:
            is_chosen = choose_stratified(labels[left], number, seed=0)
            found[name], left = left[is_chosen], left[~is_chosen]
    return found | {"train": left}


def _check_facts(facts: dict[str, Any]) -> None:
    """Checks what a checkpoint, which can be anybody's, says of a dataset."""
    classes, channels = facts.get("classes"), facts.get("native_channels")
    is_list = isinstance(classes, list) and len(classes) > 1
    if not is_list or not all(isinstance(name, str) for name in (*classes, facts.get("name"))):
        raise ValueError("the checkpoint has no names of classes")
    size = facts.get("native_size")
    if type(size) is not int or not 1 <= size <= LARGEST or channels not in (1, 3):
        raise ValueError("the checkpoint has no size of images")
    for key in ("mean", "std"):
        values = facts.get(key)
        is_list = isinstance(values, list) and len(values) == channels
        if not is_list or not all(type(v) is float and math.isfinite(v) for v in values):
            raise ValueError(f"the checkpoint has no {key} of {channels} channels")
