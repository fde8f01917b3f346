"""The user's own images in MNIST's file format, IDX."""

import gzip
import zlib
from collections.abc import Sequence
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from datamodules.batches import Split
from datamodules.decoded_images import LARGEST, SPLITS, DecodedImages, hold_out
from datamodules.image_cache import Decoded, digest_of
from datamodules.image_files import fitted
from datamodules.published_files import DatasetError, decode_idx

AT_ONCE = 4096  # images that are counted at a time
FILES = "train-images-idx3-ubyte and train-labels-idx1-ubyte, with or without .gz"


class Idx(DecodedImages):
    """The user's own images in IDX files: `<root>/train-images-idx3-ubyte` and so on.

    There are four files, `train-images`, `train-labels`, `t10k-images` and `t10k-labels`, and each
    may be compressed, with `.gz`. Images are gray, (N, H, W), or in colour, (N, H, W, 3), and of
    any size; those that are not square are center-cropped. 10 % of the training images are held
    out for validation, and as many for the test if there are no `t10k` files, stratified by
    class, the same ones for every seed. Mean and standard deviation are computed from the
    training images. A checkpoint holds them and the class names, so it can be used without the
    files.

    Args:
        root: The folder of the files.
        batch_size: Samples of one optimizer step, over all devices and accumulated micro-batches.
        image_size: Side that images are resized to on the device; None keeps their own.
        channels: 3 repeats the gray channel; None keeps what the images have.
        augment: Modules that augment a training batch of images in [0, 1], (N, C, H, W).
        mix: Modules that mix a training batch and its labels, as torchvision's `v2.MixUp`.
        classes: Names of the classes, in the order of the labels 0, 1, and so on; None uses the
            labels of the training files as names.

    Raises:
        ValueError: If a value is out of range.
        DatasetError: In `prepare_data` and `setup`, if the files are not as above.
    """

    def __init__(
        self,
        root: str | None = None,
        batch_size: int = 128,
        image_size: int | None = None,
        channels: Literal[1, 3] | None = None,
        augment: list[nn.Module] | None = None,
        mix: nn.Module | list[nn.Module] | None = None,
        classes: list[str] | None = None,
    ) -> None:
        super().__init__(batch_size, image_size, channels, augment, mix)
        if classes is not None and not 1 < len(classes) == len(set(classes)):
            raise ValueError(f"classes must be two or more different names, got {classes}")
        self.root = Path(root) if root else None
        self._names = classes

    def look(self) -> dict[str, Any]:
        images = self._parts["train"].images
        if self._channels == 1 and images.shape[1] == 3:
            raise DatasetError(f"data.channels must be 3, as the images in {self._root} are.")
        labels = torch.cat([part.labels for part in self._parts.values()]).unique()
        if not self._names and len(labels) < 2:
            raise DatasetError(
                f"all labels in {_find(self._root, 'train-labels')} are {int(labels[0])}: a "
                "classification needs two classes or more."
            )
        return {
            "name": self._root.resolve().name,
            "classes": list(self._names or map(str, range(len(labels)))),
            "native_size": images.shape[-1],
            "native_channels": images.shape[1],
        }

    @property
    def split_off(self) -> list[str]:
        is_there = any(_find(self._root, f"t10k-{kind}") for kind in ("images", "labels"))
        return ["val"] if is_there else ["val", "test"]

    def prepare_data(self) -> None:
        """Reads and checks the test images, so that no training ends with what is wrong there."""
        self.setup("test")

    def load(self, stage: Literal["fit", "test"]) -> dict[str, Split]:
        return {name: self._split(name) for name in (SPLITS[:2] if stage == "fit" else SPLITS[2:])}

    def decode(self, split: str) -> Decoded:
        images, labels = self._split(split)
        histogram = torch.zeros(images.shape[1], 256, dtype=torch.int64)
        for some in images.split(AT_ONCE):
            for channel, counts in enumerate(histogram):
                counts += some[:, channel].flatten().bincount(minlength=256)
        digest = digest_of([*map(str, labels.tolist())], histogram.tolist())
        return Decoded(images, torch.arange(len(images)), {}, histogram, digest)

    def _split(self, name: str) -> Split:
        return self._test if name == "test" else self._parts[name]

    @cached_property
    def _test(self) -> Split:
        return self._parts["test"] if "test" in self.split_off else _read(self._root, "t10k")

    @cached_property
    def _parts(self) -> dict[str, Split]:
        """What the training files are divided into."""
        whole = _read(self._root, "train")
        held_out = hold_out(whole.labels, self.split_off)
        return {name: whole.take(indices) for name, indices in held_out.items()}

    @property
    def _root(self) -> Path:
        if self.root is None:
            raise DatasetError(
                f"which images? Name their folder with --data.root: it holds {FILES}."
            )
        if not self.root.is_dir():
            raise DatasetError(f"there is no folder {self.root}: it has to hold {FILES}.")
        return self.root


def _read(folder: Path, start: str) -> Split:
    """The images and labels of the files that start with train or t10k."""
    images_path, images = _read_idx(folder, f"{start}-images", ranks=(3, 4))
    labels_path, labels = _read_idx(folder, f"{start}-labels", ranks=(1,))
    if len(images) != len(labels):
        raise DatasetError(
            f"{images_path} holds {len(images):,} images, and {labels_path} {len(labels):,} "
            "labels, which have to be as many."
        )
    if images.ndim == 4 and images.shape[3] != 3:
        raise DatasetError(
            f"{images_path} holds {tuple(images.shape)}: images are (N, H, W), gray, or "
            "(N, H, W, 3), in colour."
        )
    height, width = images.shape[1:3]
    if not len(images) or min(height, width) < 1 or max(height, width) > LARGEST:
        raise DatasetError(
            f"{images_path} holds {len(images):,} images of {height} x {width}: there have to be "
            f"some, with sides from 1 to {LARGEST:,}."
        )
    if height != width:  # as predict.py reads such an image
        side, channels = min(height, width), 3 if images.ndim == 4 else 1
        cropped = [fitted(Image.fromarray(image), side, channels) for image in images.numpy()]
        return Split(torch.from_numpy(np.stack(cropped)), labels.long())
    images = images.unsqueeze(1) if images.ndim == 3 else images.permute(0, 3, 1, 2).contiguous()
    return Split(images, labels.long())


def _read_idx(folder: Path, name: str, ranks: Sequence[int]) -> tuple[Path, Tensor]:
    path = _find(folder, name)
    if path is None:
        raise DatasetError(
            f"there is no {name}-idx{ranks[0]}-ubyte in {folder}, with or without .gz. Files for "
            "training are train-images and train-labels, and for the test t10k-images and "
            "t10k-labels."
        )
    try:
        if not path.is_file():
            raise ValueError("it is no file")  # opening a pipe would block
        content = path.read_bytes()
        values = decode_idx(gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content)
        if values.ndim not in ranks:
            allowed = " or ".join(map(str, ranks))
            raise ValueError(f"it is of rank {values.ndim}, and has to be of rank {allowed}")
    except (OSError, EOFError, zlib.error, ValueError, MemoryError) as error:
        raise DatasetError(
            f"{path} is not as it has to be: {error or type(error).__name__}."
        ) from error
    return path, values


def _find(folder: Path, name: str) -> Path | None:
    """The file of a name, `train-images-idx3-ubyte` or `train-images.idx3-ubyte.gz`."""
    pattern = f"{name}[-.]idx[0-9]-ubyte"
    return min(chain(folder.glob(pattern), folder.glob(f"{pattern}.gz")), default=None)
