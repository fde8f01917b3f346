"""Atomic writes where the system is not Linux: each other system is simulated by its refusals."""

import errno
import fcntl
import os
import stat

import pytest

from terminal import atomic
from terminal.atomic import write_atomically

FULLFSYNC = 51  # its number on macOS


def save(path, text="new"):
    write_atomically(path, lambda beside: beside.write_text(text, encoding="utf-8"))


def is_folder(descriptor):
    return stat.S_ISDIR(os.fstat(descriptor).st_mode)


@pytest.fixture
def path(tmp_path):
    (tmp_path / "file").write_text("old", encoding="utf-8")
    return tmp_path / "file"


def test_folders_that_cannot_be_opened(path, monkeypatch):
    """As on Windows."""
    before = os.open

    def refuse(name, *args, **kwargs):
        if os.path.isdir(name):
            raise PermissionError(errno.EACCES, "Permission denied", str(name))
        return before(name, *args, **kwargs)

    monkeypatch.setattr(os, "open", refuse)
    save(path)
    assert path.read_text(encoding="utf-8") == "new"


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.EBADF])
def test_folders_that_cannot_be_flushed(path, monkeypatch, number):
    """As on some network file systems."""
    fail_to_flush_folders(monkeypatch, number)
    handles = os.listdir("/dev/fd")
    save(path)
    assert path.read_text(encoding="utf-8") == "new"
    assert os.listdir("/dev/fd") == handles


def test_a_disk_that_fails_is_reported(path, monkeypatch):
    fail_to_flush_folders(monkeypatch, errno.EIO)
    with pytest.raises(OSError, match="simulated"):
        save(path)


def fail_to_flush_folders(monkeypatch, number):
    before = os.fsync

    def fsync(descriptor):
        if is_folder(descriptor):
            raise OSError(number, "simulated")
        before(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)


def test_files_that_are_flushed_only_where_they_may_be_written(path, monkeypatch):
    """As on Windows."""
    before = os.fsync

    def fsync(descriptor):
        is_read_only = fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY
        if is_read_only and not is_folder(descriptor):
            raise OSError(errno.EBADF, "Bad file descriptor")
        before(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    save(path)
    assert path.read_text(encoding="utf-8") == "new"


@pytest.fixture
def readers(monkeypatch):
    """Lets a file be replaced only after so many attempts, as if others had it open on Windows."""
    before, naps = os.replace, []

    def hold(attempts):
        def replace(name, path):
            if len(naps) < attempts:
                raise PermissionError(errno.EACCES, "Access is denied", str(path))
            before(name, path)

        monkeypatch.setattr(os, "replace", replace)
        monkeypatch.setattr(atomic.time, "sleep", naps.append)

    return hold


def test_a_file_that_is_being_read_is_replaced_after_it(path, readers):
    readers(3)
    save(path)
    assert path.read_text(encoding="utf-8") == "new"


def test_a_file_that_stays_open_is_left_as_it_is(path, readers):
    readers(100)
    with pytest.raises(PermissionError):
        save(path)
    assert path.read_text(encoding="utf-8") == "old"
    assert [*path.parent.iterdir()] == [path]


@pytest.fixture
def macos(path, monkeypatch):
    """Records flushes as macOS has them: by what, of a folder or not, and the content of `path`."""
    flushed = []

    def full(descriptor, command):
        assert command == FULLFSYNC
        flushed.append(("full", is_folder(descriptor), path.read_text(encoding="utf-8")))

    monkeypatch.setattr(fcntl, "F_FULLFSYNC", FULLFSYNC, raising=False)
    monkeypatch.setattr(fcntl, "fcntl", full)
    monkeypatch.setattr(
        os,
        "fsync",
        lambda descriptor: flushed.append(
            ("fsync", is_folder(descriptor), path.read_text(encoding="utf-8"))
        ),
    )
    return flushed


def test_macos_flushes_the_disk_too(path, macos):
    save(path)
    assert macos == [("full", False, "old"), ("full", True, "new")]


@pytest.mark.parametrize("number", [errno.ENOTSUP, errno.EINVAL, errno.ENOTTY])
def test_disks_that_macos_cannot_flush(path, macos, monkeypatch, number):
    def refuse(*args):
        raise OSError(number, "simulated")

    monkeypatch.setattr(fcntl, "fcntl", refuse)
    save(path)
    assert macos == [("fsync", False, "old"), ("fsync", True, "new")]
