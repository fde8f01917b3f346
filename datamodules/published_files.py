"""Downloads, verifies and decodes the four gzip files of a dataset in MNIST's format."""

import hashlib
import math
import os
import time
import urllib.request
import zlib
from collections.abc import Mapping, Sequence
from functools import partial
from http.client import HTTPException
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor

from datamodules.batches import Split
from terminal.atomic import write_atomically
from terminal.errors import UserError

TIMEOUT = 20  # seconds without an answer from a mirror
PATIENCE = 600  # seconds for a whole file
LARGEST = 50_000_000  # bytes; the images of a training set are 47 million


class DatasetError(UserError, RuntimeError):
    """A dataset cannot be found, downloaded or used."""


class PublishedFiles:
    """The published files of a dataset in a folder, which may be read-only if they are complete.

    The same content, extracted or compressed again, is accepted. Other content under a published
    name is the user's own: it is never replaced.

    Args:
        folder: Folder of the files, created if missing.
        mirrors: Base URLs, tried in order.
        resources: File names and MD5 sums.
        contents: File names and MD5 sums of the extracted content.
    """

    def __init__(
        self,
        folder: Path,
        mirrors: Sequence[str],
        resources: Sequence[tuple[str, str]],
        contents: Mapping[str, str],
    ) -> None:
        self.folder = folder
        self.mirrors = mirrors
        self.md5 = dict(resources)
        self.md5_of_content = contents

    def ensure(self) -> None:
        """Verifies all files, and downloads the missing ones.

        Raises:
            DatasetError: If a file is not the published one or cannot be downloaded.
        """
        for name in self.md5:
            self._verified(name)

    def read(self, prefix: str) -> Split:
        """The images and labels of the files that start with `prefix`: train or t10k.

        Raises:
            DatasetError: If a file is not the published one or cannot be downloaded.
        """
        images, labels = (
            decode_idx(_extracted(self._verified(name)))
            for kind in ("images", "labels")
            for name in self.md5
            if name.startswith(f"{prefix}-{kind}")
        )
        return Split(images.unsqueeze(1), labels.long())

    def _verified(self, name: str) -> bytes:
        """The verified bytes of a file, as published or extracted; downloads it if missing."""
        try:
            content = self._read(name)
            if content is not None:
                return content
            self.folder.mkdir(parents=True, exist_ok=True)
            with FileLock(self.folder / f".{name}.lock"):
                # Another process may have downloaded it while this one waited.
                return self._read(name) or self._fetch(name)
        except OSError as error:
            raise DatasetError(
                f"{name} is missing in {self.folder} and could not be downloaded ({error}). "
                "Put the published file there, name another folder with --data.root, or train "
                "configs/quickstart.yaml, which needs no download."
            ) from error

    def _read(self, name: str) -> bytes | None:
        """The verified bytes of a file; None if it has to be downloaded.

        Raises:
            DatasetError: If another file has its name.
        """
        path = self.folder / name
        if (content := _read_small(path)) is not None:
            if _md5(content) == self.md5[name]:
                return content
            extracted = _extracted(content)
            if _md5(extracted) == self.md5_of_content.get(name):
                return extracted
        if os.path.lexists(path):
            raise DatasetError(
                f"{path} is not the published file, and is left as it is. Move it away to "
                "download the published one, or name another folder with --data.root. Your own "
                f"data are read by --data datamodules.Idx --data.root {path.parent}"
            )
        extracted = _read_small(path.with_suffix(""))
        is_published = extracted is not None and _md5(extracted) == self.md5_of_content.get(name)
        return extracted if is_published else None

    def _fetch(self, name: str) -> bytes:
        failures = []
        for mirror in self.mirrors:
            try:
                content = _download(mirror + name)
            except (OSError, HTTPException, ValueError) as error:
                failures.append(f"{mirror}: {error or type(error).__name__}")
                continue
            if _md5(content) == self.md5[name]:
                write_atomically(self.folder / name, partial(_write, content))
                return content
            failures.append(f"{mirror}: the download has the wrong MD5 sum")
        raise OSError("; ".join(failures))


class _OnlyHTTP(urllib.request.HTTPRedirectHandler):
    """Follows redirects to other web servers, but not to local files."""

    def redirect_request(self, request: Any, *args: Any) -> urllib.request.Request | None:
        *_, address = args
        if not address.startswith(("http://", "https://")):
            raise ValueError(f"it redirects to {address}")
        return super().redirect_request(request, *args)


def _download(address: str) -> bytes:
    """Downloads a URL, within limits of time and size.

    Raises:
        OSError, HTTPException, ValueError: If the download fails or exceeds a limit.
    """
    end = time.monotonic() + PATIENCE
    parts, size = [], 0
    with urllib.request.build_opener(_OnlyHTTP).open(address, timeout=TIMEOUT) as response:
        while part := response.read1(2**16):
            parts.append(part)
            size += len(part)
            if size > LARGEST:
                raise ValueError(f"it has sent more than {LARGEST:,} bytes")
            if time.monotonic() > end:
                raise ValueError(f"it has sent {size:,} bytes in {PATIENCE} seconds")
    return b"".join(parts)


def _read_small(path: Path) -> bytes | None:
    """The bytes of a regular file of at most `LARGEST` bytes; None otherwise."""
    if not path.is_file() or path.stat().st_size > LARGEST:
        return None
    return path.read_bytes()


def _extracted(content: bytes) -> bytes:
    """Decompresses bytes; returns them unchanged if they are not gzip, or too large."""
    if content[:2] != b"\x1f\x8b":
        return content
    try:
        return zlib.decompressobj(wbits=31).decompress(content, LARGEST)
    except zlib.error:
        return content


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _write(content: bytes, path: Path) -> None:
    path.write_bytes(content)


def decode_idx(content: bytes) -> Tensor:
    """An array of bytes in the IDX format: two zeros, type 8, rank, big-endian sizes, values.

    Raises:
        ValueError: If it is something else.
    """
    if len(content) < 4 or content[:2] != b"\0\0":
        raise ValueError("it does not start as the IDX format does, with two zeros")
    kind, rank = content[2:4]
    if kind != 8:
        raise ValueError(f"its values are of type {kind:#04x}, and have to be bytes, 0x08")
    start = 4 + 4 * rank
    if len(content) < start:
        raise ValueError("it ends within its header")
    shape = np.frombuffer(content, ">u4", count=rank, offset=4).tolist()
    values = np.frombuffer(content, np.uint8, offset=start)
    if len(values) != math.prod(shape):
        raise ValueError(
            f"after its header, which says {tuple(shape)}, it has {len(values):,} bytes, and not "
            f"{math.prod(shape):,}"
        )
    return torch.from_numpy(values.reshape(shape).copy())
