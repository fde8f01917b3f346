"""MNIST and Fashion-MNIST, from the published files."""

import os
from pathlib import Path
from typing import ClassVar, Literal

from torch import nn
from torchvision import datasets

from datamodules.batches import Split, stratified_split
from datamodules.in_memory import InMemoryDataModule
from datamodules.published_files import PublishedFiles


class MNIST(InMemoryDataModule):
    """Handwritten digits, 28 x 28: 55,000 train, 5,000 validate, 10,000 test.

    The published files are the only truth: found under `<root>/<name>/raw`, or downloaded there,
    verified by their MD5 sums at each start and decoded straight into memory.

    Source: LeCun, Cortes and Burges, http://yann.lecun.com/exdb/mnist/

    Args:
        root: Folder of the datasets; None is the environment's `DATA_ROOT`, else `data`.
        batch_size: Samples of one optimizer step, over all devices and accumulated micro-batches.
        image_size: Side that images are resized to; None keeps 28.
        channels: 3 repeats the gray channel, for networks that expect colour.
        augment: Modules that change a batch of images in [0, 1] (N, 1, 28, 28) in training.

    Raises:
        ValueError: If a value is out of range.
        DatasetError: In `prepare_data` and `setup`, if a file is missing or damaged and cannot be
            downloaded.
    """

    name = "MNIST"
    classes = tuple("0123456789")
    mean = 0.1307
    std = 0.3081
    native_size = 28
    margin = 0.2  # digits are 20 pixels high or wide
    # The files' names, MD5 sums and addresses.
    mirrors: ClassVar[list[str]] = datasets.MNIST.mirrors
    resources: ClassVar[list[tuple[str, str]]] = datasets.MNIST.resources

    def __init__(
        self,
        root: str | None = None,
        batch_size: int = 128,
        image_size: int | None = None,
        channels: Literal[1, 3] = 1,
        augment: list[nn.Module] | None = None,
    ) -> None:
        super().__init__(batch_size, image_size, channels, augment)
        root = root or os.environ.get("DATA_ROOT") or "data"
        self.files = PublishedFiles(Path(root) / self.name / "raw", self.mirrors, self.resources)

    def prepare_data(self) -> None:
        """Verifies the files, and downloads those that are missing or damaged."""
        self.files.ensure()

    def load(self, stage: Literal["fit", "test"]) -> dict[str, Split]:
        if stage == "test":
            return {"test": self.files.read("t10k")}
        train, val = stratified_split(self.files.read("train"), held_out=5_000, seed=0)
        return {"train": train, "val": val}


class FashionMNIST(MNIST):
    """Clothes, 28 x 28, in MNIST's format: 55,000 train, 5,000 validate, 10,000 test.

    Source: Xiao, Rasul and Vollgraf 2017, https://arxiv.org/abs/1708.07747
    """

    name = "FashionMNIST"
    classes = (
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    )
    margin = 0.0
    mean = 0.2860
    std = 0.3530
    mirrors = datasets.FashionMNIST.mirrors
    resources = datasets.FashionMNIST.resources
