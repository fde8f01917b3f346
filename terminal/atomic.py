"""Writes files atomically: a reader sees the old or the new content, even after a power cut."""

import errno
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

UNFINISHED = ".classic-cnns.tmp"  # a suffix that no other program uses


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
        with open(name, "rb") as file:
            os.fsync(file.fileno())
        os.chmod(name, 0o666 & ~_umask())  # only the owner can read mkstemp's files
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    os.fsync(folder)  # so that the rename survives a power cut
    os.close(folder)


def _umask() -> int:
    mask = os.umask(0)  # the umask cannot be read without setting it
    os.umask(mask)
    return mask


def remove_leftovers(folder: Path, start: str = "") -> None:
    """Removes the unfinished files of killed processes, those of names that start so."""
    for path in folder.glob(f".{start}*{UNFINISHED}"):
        path.unlink()
