"""Decodes image files once, in parallel, to a file that is mapped into memory."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from filelock import FileLock
from rich.progress import track
from torch import Tensor

from datamodules.image_files import ImageError, read_photograph
from datamodules.published_files import DatasetError
from terminal.atomic import write_atomically
from terminal.console import console
from terminal.devices import usable_processors
from terminal.errors import printable

FORMAT = 1  # of the cache; another one is decoded anew
AT_ONCE = 512  # files whose images are in memory while they are decoded


class Decoded(NamedTuple):
    """The images of files, and what is known of them.

    Attributes:
        images: uint8 (N, C, H, W), mapped from a file, which processes share.
        kept: Indices of the files that are images, int64 (N,).
        left_out: The reason for each other file, by its path.
        histogram: How often each value comes in each channel, int64 (C, 256).
    """

    images: Tensor
    kept: Tensor
    left_out: dict[str, str]
    histogram: Tensor


class ImageCache:
    """Decoded images in a folder, decoded again when a file is new, gone or changed.

    Args:
        folder: Where the cache is, or goes to.
        size: Side of the images.
        channels: Their channels, 1 or 3.
    """

    def __init__(self, folder: Path, size: int, channels: int) -> None:
        self.folder = folder
        self.size = size
        self.channels = channels

    def read(self, name: str, files: Sequence[Path], base: Path) -> Decoded:
        """The images of files, by their size and time those that were decoded before.

        Args:
            name: What they are called in the cache: train, val or test.
            files: Their paths, under `base`.
            base: A folder; moved as a whole, its images need not be decoded again.

        Raises:
            DatasetError: If the cache cannot be written.
        """
        start = f"{name}-{self.size}x{self.channels}-"
        images = self.folder / f"{start}{_fingerprint(files, base)}.images"
        facts = images.with_suffix(".json")
        if not facts.exists():
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                with FileLock(self.folder / f".{name}.lock"):
                    if not facts.exists():  # another process may have decoded while this one waited
                        self._decode(images, facts, files, base)
                        self._remove_others(start, images.stem)
            except OSError as error:
                raise DatasetError(
                    f"the decoded images cannot be kept in {self.folder}: {error}. Name another "
                    "folder with --data.cache."
                ) from error
        known = json.loads(facts.read_text(encoding="utf-8"))
        shape = (known["number"], self.channels, self.size, self.size)
        # Copied when written to: torch knows no tensors that are read-only.
        mapped = np.memmap(images, np.uint8, mode="c", shape=shape) if known["number"] else None
        is_kept = [str(file.relative_to(base)) not in known["left_out"] for file in files]
        return Decoded(
            torch.empty(shape, dtype=torch.uint8) if mapped is None else torch.from_numpy(mapped),
            torch.tensor(is_kept, dtype=torch.bool).nonzero().flatten(),
            known["left_out"],
            torch.tensor(known["histogram"]),
        )

    def _decode(self, images: Path, facts: Path, files: Sequence[Path], base: Path) -> None:
        needed = len(files) * self.channels * self.size**2
        if needed > (free := shutil.disk_usage(self.folder).free):
            raise OSError(f"it takes {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free")
        left_out: dict[str, str] = {}
        histogram = np.zeros((self.channels, 256), np.int64)

        def write(beside: Path) -> None:
            with open(beside, "wb") as out:
                for file, decoded in zip(files, self._decoded(files), strict=True):
                    if isinstance(decoded, ImageError):
                        left_out[str(file.relative_to(base))] = str(decoded)
                        continue
                    out.write(decoded.tobytes())
                    for channel, values in enumerate(decoded):
                        histogram[channel] += np.bincount(values.ravel(), minlength=256)

        write_atomically(images, write)
        known = {
            "number": len(files) - len(left_out),
            "left_out": left_out,
            "histogram": histogram.tolist(),
        }
        text = json.dumps(known)
        write_atomically(facts, lambda beside: beside.write_text(text, encoding="utf-8"))

    def _decoded(self, files: Sequence[Path]) -> Iterator[np.ndarray | ImageError]:
        """Decodes files by all processors, in their order; an error for what is no image."""
        decode = partial(
            _or_error, partial(read_photograph, size=self.size, channels=self.channels)
        )
        with ThreadPoolExecutor(usable_processors()) as pool:  # Pillow decodes without the GIL
            chunks: Iterable[int] = range(0, len(files), AT_ONCE)
            hidden = not console.is_terminal
            for at in track(chunks, "decoding", console=console, transient=True, disable=hidden):
                yield from pool.map(decode, files[at : at + AT_ONCE])

    def _remove_others(self, start: str, stem: str) -> None:
        """Removes what was decoded of the files as they were before."""
        for path in self.folder.glob(f"{start}*"):
            if path.stem != stem and path.suffix in (".images", ".json"):
                path.unlink(missing_ok=True)


def mean_and_std(histogram: Tensor) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel's values in [0, 1], of counts (C, 256)."""
    values = torch.arange(256, dtype=torch.float64) / 255
    shares = histogram.double() / histogram.sum(1, keepdim=True)
    means = shares @ values
    variances = shares @ values.square() - means.square()
    # A channel without any contrast is left as it is.
    stds = [value or 1.0 for value in variances.clamp(min=0).sqrt().tolist()]
    return means.tolist(), stds


def describe(left_out: dict[str, str]) -> str:
    """Files with the reason why they are left out, the first ones by name."""
    named = [f"{printable(name)} ({reason})" for name, reason in list(left_out.items())[:3]]
    more = f" and {len(left_out) - 3:,} more" if len(left_out) > 3 else ""
    return ", ".join(named) + more


def _or_error(read: Callable[[Path], np.ndarray], path: Path) -> np.ndarray | ImageError:
    try:
        return read(path)
    except ImageError as error:
        return error


def _fingerprint(files: Sequence[Path], base: Path) -> str:
    """A digest of the files' names, sizes and times."""
    digest = hashlib.sha256(f"{FORMAT}".encode())
    for file in files:
        found = file.stat()
        name = os.fsencode(file.relative_to(base))
        digest.update(b"\0%b\0%d\0%d" % (name, found.st_size, found.st_mtime_ns))
    return digest.hexdigest()[:16]
