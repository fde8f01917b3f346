"""Monitors side effects: code, processes, connections, and files changed elsewhere."""

import faulthandler
import os
import re
import resource
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SECONDS = 30
BYTES = 2 * 1024**3
STATUS, ANEW = Path("/proc/self/status"), Path("/proc/self/clear_refs")  # of Linux

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
# Audit events, and which of their arguments are paths of changed files.
CHANGES = {
    **dict.fromkeys(("os.remove", "os.rmdir", "os.mkdir", "os.truncate", "os.chmod"), (0,)),
    **dict.fromkeys(("os.chown", "os.utime", "os.setxattr", "shutil.rmtree"), (0,)),
    **dict.fromkeys(("os.rename", "shutil.move"), (0, 1)),
    **dict.fromkeys(("os.link", "os.symlink"), (1,)),
}
PROCESSES = ("os.system", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty", "pty.spawn")
SOCKETS = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto")
LOOPBACK = ("127.0.0.1", "localhost")


class Caught(BaseException):
    """A forbidden effect of an input. `except Exception` does not catch it."""


class _Watch:
    """The allowed effects of one input: reads, and writes to some folders."""

    def __init__(self, inputs: Path, writable: Sequence[Path]) -> None:
        self.inputs = os.path.realpath(inputs)
        self.writable = tuple(os.path.realpath(path) for path in writable)
        self.caught: list[str] = []

    def see(self, event: str, args: tuple[Any, ...]) -> None:
        if event == "exec":
            name = getattr(args[0], "co_filename", "")
            if os.path.isabs(name) and _is_in(name, (self.inputs,)):
                self.catch(f"runs {name}")
        elif event == "subprocess.Popen":
            if os.path.basename(os.fsdecode(args[0])) != "git":  # results name the commit
                self.catch(f"starts {args[1]}")
        elif event in PROCESSES:
            self.catch(f"{event} {args}")
        elif event in SOCKETS:
            host = args[1][0] if event in ("socket.connect", "socket.sendto") else args[0]
            if host not in LOOPBACK:
                self.catch(f"{event} {host}")
        elif event == "open":
            path, mode, flags = args
            is_writing = (
                flags & WRITING if isinstance(flags, int) else set(mode or "") & set("wax+")
            )
            if is_writing and not isinstance(path, int):
                self.check(event, path)
        elif event in CHANGES:
            for index in CHANGES[event]:
                self.check(event, args[index])

    def check(self, event: str, path: Any) -> None:
        if isinstance(path, int) or os.fsdecode(path) == os.devnull:
            return
        if not _is_in(os.fsdecode(path), self.writable):
            self.catch(f"{event} {path}")

    def catch(self, what: str) -> None:
        self.caught.append(what)
        raise Caught(what)


_watch: _Watch | None = None


def _hook(event: str, args: tuple[Any, ...]) -> None:
    if _watch is not None:
        _watch.see(event, args)


sys.addaudithook(_hook)  # audit hooks cannot be removed


@contextmanager
def watched(inputs: Path, writable: Sequence[Path] = ()) -> Iterator[None]:
    """Fails if the code inside runs a file of `inputs`, or has another forbidden effect.

    That is a process other than git, a connection to another machine, a file changed outside of
    the `writable` folders, more than 30 seconds, or more than 2 GB of memory beside
    what the process has already.

    Raises:
        Caught: For the first of them, also if the code has caught it.
    """
    global _watch
    watch = _Watch(inputs, writable)
    if os.access(ANEW, os.W_OK):
        ANEW.write_text("5", encoding="utf-8")  # forgets the peak
    memory = _peak_bytes()

    def too_long(*args: Any) -> None:
        watch.catch(f"takes more than {SECONDS} s")

    # For code that no signal stops.
    faulthandler.dump_traceback_later(2 * SECONDS, exit=True, file=sys.__stderr__)
    before = signal.signal(signal.SIGALRM, too_long)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    _watch = watch
    try:
        yield
    finally:
        _watch = None
        faulthandler.cancel_dump_traceback_later()
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    taken = _peak_bytes() - memory
    if taken > BYTES:
        watch.caught.append(f"takes {taken / 1e9:.1f} GB")
    if watch.caught:
        raise Caught("; ".join(watch.caught))


def contents(folder: Path) -> dict[str, bytes | str]:
    """The bytes of each file below a folder, the target of each link, and other entries."""
    found: dict[str, bytes | str] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = f"link to {os.readlink(path)}"
        elif path.is_file():
            found[name] = path.read_bytes()
        else:
            found[name] = "folder" if path.is_dir() else "special"
    return found


def _is_in(path: str, folders: Sequence[str]) -> bool:
    real = os.path.realpath(path)
    return any(real == folder or real.startswith(f"{folder}{os.sep}") for folder in folders)


def _peak_bytes() -> int:
    if STATUS.exists():
        return int(re.search(r"VmHWM:\s*(\d+)", STATUS.read_text(encoding="utf-8"))[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
