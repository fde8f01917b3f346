"""Decodes images once, in parallel, into a memory-mapped file."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from filelock import FileLock
from rich.progress import track
from torch import Tensor

from datamodules.image_files import ImageError, quiet_decoders
from datamodules.published_files import DatasetError
from terminal.atomic import remove_leftovers, write_atomically
from terminal.console import console
from terminal.devices import usable_processors
from terminal.errors import printable

FORMAT = 1  # version of the cache; other versions are decoded again
AT_ONCE = 512  # images decoded and in memory at the same time


class Decoded(NamedTuple):
    """Decoded images and their statistics.

    Attributes:
        images: uint8 (N, C, H, W), memory-mapped from a file and shared by processes.
        kept: Indices of the sources that were decoded, int64 (N,).
        left_out: For each source that could not be decoded, its name and the reason.
        histogram: Count of each value in each channel, int64 (C, 256).
        digest: Digest of the sources' names and of the histogram: the same images, the same digest.
    """

    images: Tensor
    kept: Tensor
    left_out: dict[str, str]
    histogram: Tensor
    digest: str


def cache_folder(root: Path, cache: str | None) -> Path:
    """The folder of the decoded images of `root`: in it, or in `cache`, which many may share."""
    if cache is None:
        return root / ".decoded"
    digest = hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:8]
    return Path(cache) / f"{root.resolve().name}-{digest}"


class ImageCache:
    """Cache folder of decoded images, which are decoded again when their sources change.

    Args:
        folder: Folder of the cache, created if missing.
        size: Side of the images.
        channels: Number of channels, 1 or 3.
    """

    def __init__(self, folder: Path, size: int, channels: int) -> None:
        self.folder = folder
        self.size = size
        self.channels = channels

    def read(
        self,
        name: str,
        sources: Sequence[str],
        fingerprint: str,
        decode: Callable[[int], np.ndarray],
        threads: int = 0,
    ) -> Decoded:
        """Returns images from the cache, or decodes them.

        Args:
            name: Name of the split in the cache: train, val or test.
            sources: Names of the images, which are their labels too.
            fingerprint: A text that changes when one of the images does.
            decode: Returns the image of a source, by its index, as uint8 (C, H, W).
            threads: Number of threads that decode; 0 means one for each processor.

        Raises:
            DatasetError: If the cache cannot be written, or a file cannot be read for a reason
                that may pass.
        """
        start = f"{name}-{self.size}x{self.channels}-"
        digest = hashlib.sha256(f"{FORMAT}\0{fingerprint}".encode()).hexdigest()[:16]
        images = self.folder / f"{start}{digest}.images"
        known = self._read_facts(images)
        if not known:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                with FileLock(self.folder / f".{name}.lock"):
                    remove_leftovers(self.folder, name)
                    # Another process may have decoded while this one waited.
                    known = self._read_facts(images)
                    if not known:
                        known = self._decode(images, sources, decode, threads)
                        self._remove_others(start, images.stem)
            except OSError as error:
                raise DatasetError(
                    f"the decoded images cannot be written to {self.folder}: {error}. Name another "
                    "folder with --data.cache."
                ) from error
        shape = (known["number"], self.channels, self.size, self.size)
        # Copy-on-write: torch has no read-only tensors.
        mapped = np.memmap(images, np.uint8, mode="c", shape=shape) if known["number"] else None
        is_kept = [source not in known["left_out"] for source in sources]
        return Decoded(
            torch.empty(shape, dtype=torch.uint8) if mapped is None else torch.from_numpy(mapped),
            torch.tensor(is_kept, dtype=torch.bool).nonzero().flatten(),
            known["left_out"],
            torch.tensor(known["histogram"]),
            digest_of(sources, known["histogram"]),
        )

    def _read_facts(self, images: Path) -> dict[str, Any]:
        """Reads the statistics of decoded images; empty if the images are missing or incomplete."""
        try:
            known = json.loads(images.with_suffix(".json").read_text(encoding="utf-8"))
            size = known["number"] * self.channels * self.size**2
            is_whole = images.stat().st_size == size and isinstance(known["left_out"], dict)
            is_whole &= torch.tensor(known["histogram"]).shape == (self.channels, 256)
        except (OSError, ValueError, TypeError, KeyError, RuntimeError):
            return {}
        return known if is_whole else {}

    def _decode(
        self,
        images: Path,
        sources: Sequence[str],
        decode: Callable[[int], np.ndarray],
        threads: int,
    ) -> dict[str, Any]:
        number = len(sources)
        needed = number * self.channels * self.size**2
        if needed > (free := shutil.disk_usage(self.folder).free):
            raise OSError(f"they need {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free")
        left_out: dict[str, str] = {}
        histogram = np.zeros((self.channels, 256), np.int64)

        def write(beside: Path) -> None:
            with open(beside, "wb") as out:
                results = _in_parallel(decode, sources, threads)
                for source, decoded in zip(sources, results, strict=True):
                    if isinstance(decoded, ImageError):
                        left_out[source] = str(decoded)
                        continue
                    out.write(decoded.tobytes())
                    for channel, values in enumerate(decoded):
                        histogram[channel] += np.bincount(values.ravel(), minlength=256)

        write_atomically(images, write)
        known = {
            "number": number - len(left_out),
            "left_out": left_out,
            "histogram": histogram.tolist(),
        }
        text = json.dumps(known)
        write_atomically(
            images.with_suffix(".json"), lambda beside: beside.write_text(text, encoding="utf-8")
        )
        return known

    def _remove_others(self, start: str, stem: str) -> None:
        """Removes the decoded images of an older fingerprint."""
        for path in self.folder.glob(f"{start}*"):
            if path.stem != stem and path.suffix in (".images", ".json"):
                with suppress(PermissionError):  # on Windows, while a process has it mapped
                    path.unlink(missing_ok=True)


def digest_of(sources: Sequence[str], histogram: Sequence[Sequence[int]]) -> str:
    """A digest of the names of images and of their histogram (C, 256)."""
    text = json.dumps([list(sources), histogram])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def mean_and_std(histogram: Tensor) -> tuple[list[float], list[float]]:
    """Mean and standard deviation per channel, in [0, 1], from a histogram (C, 256)."""
    values = torch.arange(256, dtype=torch.float64) / 255
    shares = histogram.double() / histogram.sum(1, keepdim=True)
    means = shares @ values
    variances = shares @ values.square() - means.square()
    # The values of a constant channel are not scaled.
    stds = [value or 1.0 for value in variances.clamp(min=0).sqrt().tolist()]
    return means.tolist(), stds


def describe(left_out: dict[str, str]) -> str:
    """Names the first files that are left out, with the reasons."""
    named = [f"{printable(name)} ({reason})" for name, reason in list(left_out.items())[:3]]
    more = f" and {len(left_out) - 3:,} more" if len(left_out) > 3 else ""
    return ", ".join(named) + more


def _in_parallel(
    decode: Callable[[int], np.ndarray], sources: Sequence[str], threads: int
) -> Iterator[np.ndarray | ImageError]:
    """Decodes in order; yields the error of a source that is not an image, or a damaged one."""

    def or_error(index: int) -> np.ndarray | ImageError:
        try:
            return decode(index)
        except ImageError as error:
            cause = error.__cause__
            if not isinstance(cause, MemoryError) and getattr(cause, "errno", None) is None:
                return error
            reason = cause  # may pass: not kept as a property of the file
        except OSError as error:
            reason = error
        raise DatasetError(f"{sources[index]} cannot be read: {reason}.") from reason

    number = len(sources)
    # Threads are enough: Pillow releases the GIL while it decodes.
    with quiet_decoders(), ThreadPoolExecutor(threads or usable_processors()) as pool:
        starts = range(0, number, AT_ONCE)
        hidden = not console.is_terminal
        for start in track(starts, "decoding", console=console, transient=True, disable=hidden):
            yield from pool.map(or_error, range(start, min(start + AT_ONCE, number)))
