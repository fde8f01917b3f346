"""Runs scripts on Linux as if on Windows: python -m tests.terminal.windows '[["train.py", ...]]'.

What Windows lacks is taken away, after the libraries, which have their own ways on Windows, are
imported. Whatever opens a text without naming an encoding gets Windows' usual one. The console's is
set by the caller, by PYTHONIOENCODING.
"""

import builtins
import ctypes
import errno
import fcntl
import io
import json
import os
import runpy
import select
import shutil
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

ROOT = Path(__file__).parent.parent.parent
PEAK = 123_456_789  # bytes
MISSING_MODULES = ("fcntl", "grp", "pwd", "resource", "termios")
MISSING_SIGNALS = ("SIGALRM", "SIGCHLD", "SIGHUP", "SIGPIPE", "SIGQUIT", "SIGUSR1", "SIGUSR2")
MISSING_OF_OS = ("getuid", "killpg", "mkfifo", "sched_getaffinity", "setpgid", "setsid")
FORBIDDEN = set('<>"|?*')  # in names of files


def pretend() -> None:
    """Takes away from this process what Windows lacks."""
    for name in MISSING_MODULES:
        sys.modules[name] = None  # an import of it fails
    for name in MISSING_SIGNALS:
        delattr(signal, name)
    left = {signal.SIGABRT, signal.SIGFPE, signal.SIGILL, signal.SIGINT, signal.SIGSEGV}
    signal.valid_signals = lambda: left | {signal.SIGTERM}
    for name in MISSING_OF_OS:
        delattr(os, name)
    builtins.open = io.open = _opening(open)
    os.open = _opening_descriptors(os.open)
    os.fsync = _flushing(os.fsync)
    for name in ("replace", "rename", "unlink", "remove"):
        setattr(os, name, _refusing_open_files(getattr(os, name)))
    shutil._use_fd_functions = False  # they open folders
    pretend_api()


def pretend_api() -> None:
    """The functions of the Windows API that are called, and the parent's id that never changes."""
    ctypes.windll = SimpleNamespace(
        kernel32=SimpleNamespace(
            GetCurrentProcess=lambda: -1,
            K32GetProcessMemoryInfo=_memory_info,
            OpenProcess=lambda access, inherit, process: os.pidfd_open(process),
            WaitForSingleObject=_wait,
        )
    )
    os.getppid = lambda: 4242


class Pipe(io.FileIO):
    """A pipe whose closed end is an invalid argument."""

    def write(self, content):
        try:
            return super().write(content)
        except BrokenPipeError:
            raise OSError(errno.EINVAL, "Invalid argument") from None


def _memory_info(process, counters, size):
    """The peak is the third field, after two of four bytes; all are 72 bytes on 64 bits."""
    assert (process.value, size) == (2**64 - 1, 72)
    ctypes.memmove(counters, size.to_bytes(8, "little") + PEAK.to_bytes(8, "little"), 16)


def _wait(handle, milliseconds):
    assert milliseconds == 2**32 - 1  # without a limit
    poll = select.poll()
    poll.register(handle.value, select.POLLIN)
    poll.poll()


def _opening(original):
    def open_as_windows(file, mode="r", buffering=-1, encoding=None, *args, **kwargs):
        if "b" not in mode and encoding in (None, "locale"):
            encoding = "cp1252"
        if "r" not in mode and not isinstance(file, int):
            _check_name(file)
        return original(file, mode, buffering, encoding, *args, **kwargs)

    return open_as_windows


def _opening_descriptors(original):
    def open_as_windows(path, flags, *args, **kwargs):
        if os.path.isdir(path):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        if flags & os.O_CREAT:
            _check_name(path)
        return original(path, flags, *args, **kwargs)

    return open_as_windows


def _check_name(path):
    if FORBIDDEN & set(os.path.basename(os.fspath(path))):
        raise OSError(errno.EINVAL, "Invalid argument", str(path))


def _flushing(original):
    def fsync(descriptor):
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, "Bad file descriptor")
        original(descriptor)

    return fsync


def _refusing_open_files(original):
    def change(*paths, **kwargs):
        for path in paths:
            if _is_open_here(os.path.realpath(path)):
                raise PermissionError(errno.EACCES, "Access is denied", str(path))
        return original(*paths, **kwargs)

    return change


def _is_open_here(path):
    handles = []
    for name in os.listdir("/proc/self/fd"):
        try:
            handles.append(os.readlink(f"/proc/self/fd/{name}"))
        except FileNotFoundError:  # that of the listing itself
            continue
    return path in handles or f" {path}\n" in Path("/proc/self/maps").read_text(encoding="utf-8")


if __name__ == "__main__":
    # Their own ways on Windows are their makers' matter.
    import filelock  # noqa: F401
    import kornia  # noqa: F401
    import matplotlib.pyplot  # noqa: F401
    import sklearn.datasets  # noqa: F401
    import torchvision  # noqa: F401
    from lightning.pytorch.trainer.connectors import signal_connector
    from torch.utils import tensorboard  # noqa: F401

    signal_connector._IS_WINDOWS = True
    pretend()
    for script, *args in json.loads(sys.argv[1]):
        sys.argv = [script, *args]
        runpy.run_path(str(ROOT / script), run_name="__main__")
