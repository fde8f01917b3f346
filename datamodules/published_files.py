"""The four gzip files of a dataset in MNIST's format: found, verified, fetched, decoded."""

import gzip
import hashlib
import math
import os
import tempfile
import urllib.request
from collections.abc import Sequence
from http.client import HTTPException
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor

from datamodules.batches import Split

TIMEOUT = 20  # seconds without an answer from a mirror


class DatasetError(RuntimeError):
    """A file of a dataset cannot be had."""


class PublishedFiles:
    """Published files in a folder, which may be read-only while they are whole.

    Args:
        folder: Where the files are, or go to.
        mirrors: Addresses that the files' names are appended to, tried in order.
        resources: Names and MD5 sums.
    """

    def __init__(
        self, folder: Path, mirrors: Sequence[str], resources: Sequence[tuple[str, str]]
    ) -> None:
        self.folder = folder
        self.mirrors = mirrors
        self.md5 = dict(resources)

    def ensure(self) -> None:
        """Fetches every file that is missing or damaged.

        Raises:
            DatasetError: If one cannot be had.
        """
        for name in self.md5:
            self._verified(name)

    def read(self, prefix: str) -> Split:
        """The images and labels of the files that start with `prefix`: train or t10k.

        Raises:
            DatasetError: If one cannot be had.
        """
        images, labels = (
            _decode_idx(gzip.decompress(self._verified(name)))
            for kind in ("images", "labels")
            for name in self.md5
            if name.startswith(f"{prefix}-{kind}")
        )
        return Split(images.unsqueeze(1), labels.long())

    def _verified(self, name: str) -> bytes:
        """The bytes of a file, fetched if need be, whose MD5 sum is the published one."""
        problem = "missing"
        try:
            content = self._read_if_whole(name)
            if content is not None:
                return content
            problem = "damaged" if (self.folder / name).exists() else "missing"
            self.folder.mkdir(parents=True, exist_ok=True)
            with FileLock(self.folder / f".{name}.lock"):
                # Another process may have fetched it while this one waited.
                return self._read_if_whole(name) or self._fetch(name)
        except OSError as error:
            raise DatasetError(
                f"{name} is {problem} in {self.folder} and could not be downloaded ({error}). "
                "Put the published file there, name another folder with --data.root, or train "
                "configs/quickstart.yaml, which needs no download."
            ) from error

    def _read_if_whole(self, name: str) -> bytes | None:
        try:
            content = (self.folder / name).read_bytes()
        except FileNotFoundError:
            return None
        return content if self._is_whole(name, content) else None

    def _fetch(self, name: str) -> bytes:
        failures = []
        for mirror in self.mirrors:
            try:
                with urllib.request.urlopen(mirror + name, timeout=TIMEOUT) as response:
                    content = response.read()
            except (OSError, HTTPException) as error:
                failures.append(f"{mirror}: {error}")
                continue
            if self._is_whole(name, content):
                _write_whole(self.folder / name, content)
                return content
            failures.append(f"{mirror}: the download has the wrong MD5 sum")
        raise OSError("; ".join(failures))

    def _is_whole(self, name: str, content: bytes) -> bool:
        return hashlib.md5(content, usedforsecurity=False).hexdigest() == self.md5[name]


def _write_whole(path: Path, content: bytes) -> None:
    """Writes beside `path` and renames, so that no reader sees a part."""
    with tempfile.NamedTemporaryFile(
        dir=path.parent, prefix=f".{path.name}.", delete=False
    ) as file:
        try:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            os.chmod(file.name, 0o644)
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise


def _decode_idx(content: bytes) -> Tensor:
    """An array of bytes in the IDX format: two zeros, type 8, rank, big-endian sizes, values."""
    rank = content[3]
    shape = np.frombuffer(content, ">u4", count=rank, offset=4).tolist()
    values = np.frombuffer(content, np.uint8, count=math.prod(shape), offset=4 + 4 * rank)
    return torch.from_numpy(values.reshape(shape).copy())
