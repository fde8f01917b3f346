"""Writes files atomically: a reader sees the old or the new content, even after a power cut."""

import errno
import os
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows has none
    fcntl = None

UNFINISHED = ".classic-cnns.tmp"  # a suffix that no other program uses
PATIENCE = (0.01, 0.05, 0.2, 0.5, 1.0)  # seconds between the attempts to replace a file


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Calls `write` on a file beside `path`, flushes the file to disk and renames it to `path`.

    A symbolic link is kept: its target is written.

    Raises:
        OSError: If the file cannot be written, or `path` is not a regular file.
    """
    path = Path(os.path.realpath(path))
    if path.exists() and not path.is_file():
        raise FileExistsError(errno.EEXIST, "not a regular file", str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=UNFINISHED)
    os.close(handle)
    try:
        write(Path(name))
        with open(name, "r+b") as file:  # Windows flushes only what may be written
            _flush(file.fileno())
        os.chmod(name, 0o666 & ~_umask())  # only the owner can read mkstemp's files
        _replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    _flush_folder(path.parent)


def _flush(descriptor: int) -> None:
    """Flushes to the disk itself: on macOS, `os.fsync` alone leaves content in the disk's cache."""
    if hasattr(fcntl, "F_FULLFSYNC"):
        with suppress(OSError):  # of file systems that do not have it, each by another error
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
            return
    os.fsync(descriptor)


def _replace(name: str, path: Path) -> None:
    """Renames a file; on Windows, that fails while a program has `path` open, if only to read."""
    for seconds in PATIENCE:
        with suppress(PermissionError):
            return os.replace(name, path)
        time.sleep(seconds)
    os.replace(name, path)


def _flush_folder(folder: Path) -> None:
    """Flushes a folder, so that a rename in it survives a power cut, where the system can do so.

    Windows does not open folders, and some network file systems do not flush them.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        _flush(descriptor)
    except OSError as error:
        if error.errno == errno.EIO:  # the disk fails
            raise
    finally:
        os.close(descriptor)


def _umask() -> int:
    mask = os.umask(0)  # the umask cannot be read without setting it
    os.umask(mask)
    return mask


def remove_leftovers(folder: Path, start: str = "") -> None:
    """Removes the unfinished files of killed processes, those of names that start so."""
    for path in folder.glob(f".{start}*{UNFINISHED}"):
        path.unlink()
