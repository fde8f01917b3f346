"""The four gzip files of a dataset in MNIST's format: found, verified, fetched, decoded."""

import hashlib
import io
import math
import os
import tempfile
import time
import urllib.request
import zlib
from collections.abc import Callable, Mapping, Sequence
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor

from datamodules.batches import Split

PATIENCE = 20  # seconds that a mirror may be silent, or slower than
SLOWEST = 10_000  # bytes a second on average: the largest file takes three quarters of an hour
LARGEST = 50_000_000  # bytes; the images of a training set are 47 million


class DatasetError(RuntimeError):
    """What a dataset is made of cannot be had, or cannot be used."""


class PublishedFiles:
    """Published files in a folder, which may be read-only while they are whole.

    The same content extracted, or compressed anew, is as good. Other content under a published
    name, with .gz or without, is the user's own: it is refused and never replaced.

    Args:
        folder: Where the files are, or go to.
        mirrors: Addresses that the files' names are appended to, tried in order.
        resources: Names and MD5 sums.
        contents: The MD5 sums of what is compressed in them, by those of the files.
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
        self.md5_of_content = {name: contents.get(md5) for name, md5 in resources}

    def ensure(self) -> None:
        """Fetches every file that is missing.

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
            _decode_idx(_extracted(self._verified(name)))
            for kind in ("images", "labels")
            for name in self.md5
            if name.startswith(f"{prefix}-{kind}")
        )
        return Split(images.unsqueeze(1), labels.long())

    def _verified(self, name: str) -> bytes:
        """The bytes of a file, fetched if need be, of which all or the content is as published."""
        try:
            content = self._read(name)
            if content is not None:
                return content
            self.folder.mkdir(parents=True, exist_ok=True)
            with FileLock(self.folder / f".{name}.lock"):
                # Another process may have fetched it while this one waited.
                return self._read(name) or self._fetch(name)
        except OSError as error:
            raise DatasetError(
                f"{name} is missing in {self.folder} and could not be downloaded ({error}). "
                "Put the published file there, name another folder with --data.root, or train "
                "configs/quickstart.yaml, which needs no download."
            ) from error

    def _read(self, name: str) -> bytes | None:
        """What is there of a file, compressed or extracted; None if it has to be fetched.

        Raises:
            DatasetError: If there is something else under its name.
        """
        published = (self.md5[name], self.md5_of_content[name])
        for path in (self.folder / name, self.folder / name.removesuffix(".gz")):
            if not os.path.lexists(path):
                continue
            try:
                content = _read_small(path)
            except OSError as error:
                raise DatasetError(
                    f"{path} cannot be read ({error.strerror}). Make it readable, or name another "
                    "folder with --data.root."
                ) from error
            if _md5(content) in published or _md5(content := _extracted(content)) in published:
                return content
            raise DatasetError(
                f"{path} is not the published file, and is left as it is. Move it away, and the "
                "published one is downloaded; or name another folder with --data.root."
            )
        return None

    def _fetch(self, name: str) -> bytes:
        failures = []
        for mirror in self.mirrors:
            try:
                content = _download(mirror + name)
            # All that urllib raises of what a mirror sends; the last two for absurd numbers.
            except (OSError, HTTPException, ValueError, ArithmeticError, MemoryError) as error:
                failures.append(f"{mirror}: {str(error)[:200] or type(error).__name__}")
                continue
            if _md5(content) == self.md5[name]:
                _write_whole(self.folder / name, content)
                return content
            failures.append(f"{mirror}: the download has the wrong MD5 sum")
        raise OSError("; ".join(failures))


def _download(address: str) -> bytes:
    """The bytes at an address of the web.

    Raises:
        OSError, HTTPException, ValueError, ArithmeticError, MemoryError: If they cannot be had.
    """
    opener = urllib.request.OpenerDirector()
    # Neither files of this machine nor FTP: a mirror may redirect to anything.
    for handler in (
        *(urllib.request.ProxyHandler, urllib.request.UnknownHandler, _Web),
        *(urllib.request.HTTPRedirectHandler, urllib.request.HTTPDefaultErrorHandler),
        urllib.request.HTTPErrorProcessor,
    ):
        opener.add_handler(handler())
    with opener.open(address, timeout=PATIENCE) as response:
        return b"".join(iter(lambda: response.read1(2**16), b""))


class _Web(urllib.request.HTTPHandler, urllib.request.HTTPSHandler):
    """Gives up on mirrors that are slow or do not end: in the headers, and over redirections."""

    def __init__(self) -> None:
        super().__init__()
        self.start = time.monotonic()
        self.size = 0

    def do_open(self, http_class: Callable[..., Any], *args: Any, **options: Any) -> HTTPResponse:
        def connection(*args: Any, **options: Any) -> Any:
            made = http_class(*args, **options)
            made.response_class = self._response
            return made

        return super().do_open(connection, *args, **options)

    def _response(self, *args: Any, **options: Any) -> HTTPResponse:
        response = HTTPResponse(*args, **options)
        response.fp = io.BufferedReader(_Counted(response.fp.detach(), self._count))
        return response

    def _count(self, size: int) -> None:
        self.size += size
        if self.size > LARGEST:
            raise OSError(f"it has sent more than {LARGEST:,} bytes")
        seconds = time.monotonic() - self.start
        if seconds > PATIENCE + self.size / SLOWEST:
            raise OSError(f"it has sent {self.size:,} bytes in {seconds:.1f} seconds")


class _Counted(io.RawIOBase):
    """A stream that says how much is read from it.

    Args:
        stream: The stream.
        count: Is told the size of each part.
    """

    def __init__(self, stream: io.RawIOBase, count: Callable[[int], None]) -> None:
        self.stream = stream
        self.count = count

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        size = self.stream.readinto(buffer)
        self.count(size)
        return size

    def close(self) -> None:
        self.stream.close()
        super().close()


def _read_small(path: Path) -> bytes:
    """The bytes of a file; none if it is no file, which may never end, or too large for ours."""
    is_small = path.is_file() and path.stat().st_size <= LARGEST
    return path.read_bytes() if is_small else b""


def _extracted(content: bytes) -> bytes:
    """What is compressed in some bytes; they themselves if nothing is, or too much."""
    if content[:2] != b"\x1f\x8b":
        return content
    try:
        return zlib.decompressobj(wbits=31).decompress(content, LARGEST)
    except zlib.error:
        return content


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


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
