"""MNIST and Fashion-MNIST, read from the published files."""

import os
from pathlib import Path
from typing import ClassVar, Literal

from torch import nn
from torchvision import datasets

from datamodules.batches import Split, stratified_split
from datamodules.in_memory import InMemoryDataModule
from datamodules.published_files import PublishedFiles


class MNIST(InMemoryDataModule):
    """Handwritten digits, 28 x 28: 55,000 training, 5,000 validation, 10,000 test images.

    The published files are read from `<root>/<name>/raw`, or downloaded there, verified by their
    MD5 sums at each start and decoded straight into memory. Your own files under the same names
    are refused, never replaced.

    Source: LeCun, Cortes and Burges, http://yann.lecun.com/exdb/mnist/

    Args:
        root: Folder of the datasets; None means `DATA_ROOT` of the environment, else `data`.
        batch_size: Samples of one optimizer step, over all devices and accumulated micro-batches.
        image_size: Side that images are resized to; None keeps 28.
        channels: 3 repeats the gray channel, for networks that expect colour; None means 1.
        augment: Modules that augment a training batch of images in [0, 1], (N, 1, 28, 28).
        mix: Modules that mix a training batch and its labels, as torchvision's `v2.MixUp`.

    Raises:
        ValueError: If a value is out of range.
        DatasetError: In `prepare_data` and `setup`, if a file is missing and cannot be downloaded,
            or is not the published one.
    """

    name = "MNIST"
    classes = tuple("0123456789")
    mean = 0.1307
    std = 0.3081
    native_size = 28
    margin = 0.2  # digits are 20 pixels high or wide
    shows = "digits"
    # The files' names, MD5 sums and addresses.
    mirrors: ClassVar[list[str]] = datasets.MNIST.mirrors
    resources: ClassVar[list[tuple[str, str]]] = datasets.MNIST.resources
    # MD5 sums of the extracted content.
    contents: ClassVar[dict[str, str]] = {
        "train-images-idx3-ubyte.gz": "6bbc9ace898e44ae57da46a324031adb",
        "train-labels-idx1-ubyte.gz": "a25bea736e30d166cdddb491f175f624",
        "t10k-images-idx3-ubyte.gz": "2646ac647ad5339dbf082846283269ea",
        "t10k-labels-idx1-ubyte.gz": "27ae3e4e09519cfbb04c329615203637",
    }

    def __init__(
        self,
        root: str | None = None,
        batch_size: int = 128,
        image_size: int | None = None,
        channels: Literal[1, 3] | None = None,
        augment: list[nn.Module] | None = None,
        mix: nn.Module | list[nn.Module] | None = None,
    ) -> None:
        super().__init__(batch_size, image_size, channels, augment, mix)
        root = root or os.environ.get("DATA_ROOT") or "data"
        folder = Path(root) / self.name / "raw"
        self.files = PublishedFiles(folder, self.mirrors, self.resources, self.contents)

    def prepare_data(self) -> None:
        """Verifies the files, and downloads those that are missing."""
        self.files.ensure()

    def load(self, stage: Literal["fit", "test"]) -> dict[str, Split]:
        if stage == "test":
            return {"test": self.files.read("t10k")}
        train, val = stratified_split(self.files.read("train"), held_out=5_000, seed=0)
        return {"train": train, "val": val}


class FashionMNIST(MNIST):
    """Clothes, 28 x 28, in MNIST's format and with its splits.

    Source: Xiao, Rasul and Vollgraf 2017, https://arxiv.org/abs/1708.07747
    """

    name = "FashionMNIST"
    classes = (
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    )
    margin = 0.0
    shows = "thing"
    mean = 0.2860
    std = 0.3530
    mirrors = datasets.FashionMNIST.mirrors
    resources = datasets.FashionMNIST.resources
    contents: ClassVar[dict[str, str]] = {
        "train-images-idx3-ubyte.gz": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        "train-labels-idx1-ubyte.gz": "9018921c3c673c538a1fc5bad174d6f9",
        "t10k-images-idx3-ubyte.gz": "8181f5470baa50b63fa0f6fddb340f0a",
        "t10k-labels-idx1-ubyte.gz": "15d484375f8d13e6eb1aabb0c3f46965",
    }
