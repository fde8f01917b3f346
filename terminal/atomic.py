"""Writes files atomically: a reader sees the old or the new content, even after a power cut."""

import errno
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

UNFINISHED = ".classic-cnns.tmp"  # ends the names of nobody else's files


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Has `write` fill a file beside `path`, flushes it to disk and renames it to `path`.

    A link stays one: the file behind it is written.

    Raises:
        OSError: If it cannot be written, or something else than a file is there.
    """
    path = Path(os.path.realpath(path))
    if path.exists() and not path.is_file():
        raise FileExistsError(errno.EEXIST, "there is something that is no file", str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=UNFINISHED)
    os.close(handle)
    try:
        write(Path(name))
        with open(name, "rb") as file:
            os.fsync(file.fileno())
        os.chmod(name, 0o666 & ~_umask())  # mkstemp's files are for their owner alone
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    os.fsync(folder)  # the rename too survives a power cut
    os.close(folder)


def _umask() -> int:
    mask = os.umask(0)  # it cannot be read without being set
    os.umask(mask)
    return mask


def remove_leftovers(folder: Path) -> None:
    """Removes the files that a killed process was about to rename."""
    for path in folder.glob(f".*{UNFINISHED}"):
        path.unlink()
