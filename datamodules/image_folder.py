"""The user's own images, in one folder per class."""

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from datamodules.batches import Split
from datamodules.decoded_images import SIZE, SPLITS, DecodedImages, hold_out
from datamodules.image_cache import Decoded, ImageCache, cache_folder, describe
from datamodules.image_files import files_in, read_photograph
from datamodules.published_files import DatasetError
from terminal.errors import printable, warn


class Listing(NamedTuple):
    """The files of a split and their labels, int64 (N,)."""

    files: list[Path]
    labels: Tensor

    def take(self, indices: Tensor) -> "Listing":
        return Listing([self.files[i] for i in indices.tolist()], self.labels[indices])


class ImageFolder(DecodedImages):
    """Images in `<root>/train/<class>/*`, `<root>/val/<class>/*` and `<root>/test/<class>/*`.

    If `val` or `test` is missing, 10 % of the training images are held out for it, stratified by
    class, the same ones for every seed. Files are decoded once, resized so that the shorter side
    is `image_size`, center-cropped, and cached as bytes in a memory-mapped file: it can be larger
    than the memory, processes share it, and it is made again when files change. Mean and standard
    deviation are computed from the training images. A checkpoint holds them and the class names,
    so it can be used without the folder.

    Args:
        root: The folder above.
        batch_size: Samples of one optimizer step, over all devices and accumulated micro-batches.
        image_size: Side of the images; None means 224.
        channels: 1 reads the images as gray; None means 3, colour.
        augment: Modules that augment a training batch of images in [0, 1], (N, C, H, W).
        mix: Modules that mix a training batch and its labels, as torchvision's `v2.MixUp`.
        strict: Whether a file that is not an image is an error; if not, a warning names it.
        cache: Folder of the decoded images; None means `<root>/.decoded`.

    Raises:
        ValueError: If a value is out of range.
        DatasetError: In `prepare_data` and `setup`, if the folder does not have this layout.
    """

    def __init__(
        self,
        root: str | None = None,
        batch_size: int = 128,
        image_size: int | None = None,
        channels: Literal[1, 3] | None = None,
        augment: list[nn.Module] | None = None,
        mix: nn.Module | list[nn.Module] | None = None,
        strict: bool = False,
        cache: str | None = None,
    ) -> None:
        super().__init__(batch_size, image_size, channels, augment, mix)
        self.root = Path(root) if root else None
        self.strict = strict
        self.cache = cache

    def look(self) -> dict[str, Any]:
        return {
            "name": self._root.resolve().name,
            "classes": _class_names(self._root / "train"),
            "native_size": self._image_size or SIZE,
            "native_channels": self._channels or 3,
        }

    @property
    def split_off(self) -> list[str]:
        return [name for name in SPLITS if not (self._root / name).is_dir()]

    def load(self, stage: Literal["fit", "test"]) -> dict[str, Split]:
        found = {}
        for name in ("test",) if stage == "test" else ("train", "val"):
            decoded = self.decoded(name)
            if left_out := decoded.left_out:
                what = f"files that are not images in {self._root} ({name}, {len(left_out):,})"
                if self.strict:
                    raise DatasetError(f"{what} must be removed: {describe(left_out)}.")
                warn(f"{what} are left out: {describe(left_out)}.")
            labels = self._listings[name].labels[decoded.kept]
            if name == "train":
                self._check_each_class_has_some(labels)
            found[name] = Split(decoded.images, labels)
        return found

    @property
    def _root(self) -> Path:
        if self.root is None:
            raise DatasetError(
                "no image folder: set --data.root to a folder that holds train/<class>/*."
            )
        return self.root

    @cached_property
    def _listings(self) -> dict[str, Listing]:
        """The files of each split, including held-out splits."""
        found = {
            name: _list(self._root / name, self.classes)
            for name in SPLITS
            if (self._root / name).is_dir()
        }
        if "train" not in found:
            return found
        whole = found["train"]
        self._check_each_class_has_some(whole.labels)
        for name, indices in hold_out(whole.labels, self.split_off).items():
            found[name] = whole.take(indices)
        self._check_each_class_has_some(found["train"].labels)
        return found

    def decode(self, split: str) -> Decoded:
        if split not in self._listings:
            raise DatasetError(f"{self._root} has no folder {split} and no folder train.")
        size, channels = self.native_size, self.native_channels
        files = self._listings[split].files
        names = [file.relative_to(self._root).as_posix() for file in files]
        return ImageCache(cache_folder(self._root, self.cache), size, channels).read(
            split,
            sources=names,
            fingerprint=_fingerprint(files, names),
            decode=lambda index: read_photograph(files[index], size, channels),
        )

    def _check_each_class_has_some(self, labels: Tensor) -> None:
        counts = labels.bincount(minlength=len(self.classes))
        if not counts.all():
            name = printable(self.classes[int(counts.argmin())])
            raise DatasetError(
                f"{self._root / 'train'} has no image of the class {name} left to train with: each "
                "class needs some, and more if val and test are held out."
            )


def _class_names(folder: Path) -> list[str]:
    """The names of the class folders."""
    if not folder.is_dir():
        raise DatasetError(f"there is no folder {folder}: images belong in {folder}/<class>/.")
    names = _folders_in(folder)
    if len(names) < 2:
        raise DatasetError(
            f"{folder} has {len(names) or 'no'} class folder{'s' * (not names)}: a "
            f"classification needs two or more, such as {folder}/cat/ and {folder}/dog/."
        )
    return names


def _folders_in(folder: Path) -> list[str]:
    """The names of the subfolders, without hidden ones."""
    return sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def _list(folder: Path, classes: tuple[str, ...]) -> Listing:
    """The files of a split, class by class."""
    there = _folders_in(folder)
    for name in there:
        if name not in classes:
            raise DatasetError(
                f"{folder / name} is not one of the training classes, which are "
                f"{', '.join(map(printable, classes[:10]))}{', ...' * (len(classes) > 10)}."
            )
    # A checkpoint's class names may be anything: only what is there is a path.
    by_class = [list(files_in(folder / name)) if name in there else [] for name in classes]
    labels = [torch.full((len(files),), label) for label, files in enumerate(by_class)]
    files = [file for files in by_class for file in files]
    if not files:
        raise DatasetError(f"{folder} has no images: they belong in {folder}/<class>/.")
    return Listing(files, torch.cat(labels))


def _fingerprint(files: Sequence[Path], names: Sequence[str]) -> str:
    """A digest of the files' names, sizes and times of change.

    Files that were swapped can have the same size and time of modification.
    """
    digest = hashlib.sha256()
    for file, name in zip(files, names, strict=True):
        found = file.stat()
        line = f"\0{name}\0{found.st_size}\0{found.st_mtime_ns}\0{found.st_ctime_ns}"
        digest.update(line.encode(errors="surrogateescape"))  # a name can be any bytes
    return digest.hexdigest()
