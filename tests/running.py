"""Runs the scripts in processes of their own, as a user does."""

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
TRAIN = (sys.executable, str(ROOT / "train.py"))
TORCHRUN = (sys.executable, "-m", "torch.distributed.run")
TIMEOUT = 200  # seconds

_forkserver = multiprocessing.get_context("forkserver")
_forkserver.set_forkserver_preload(["train"])


class Ended(NamedTuple):
    """How a process ended: its status, negative for a signal, and what it printed."""

    status: int
    out: str
    err: str


def start_quickly(
    *args: object, cwd: Path, env: dict[str, str] | None = None
) -> multiprocessing.Process:
    """Starts `python train.py ARGS` in a fresh process that has its imports done already.

    Args:
        args: The arguments.
        cwd: The folder it runs in, and leaves its output in: out.txt and err.txt.
        env: Further environment variables.
    """
    process = _forkserver.Process(target=_train, args=(list(map(str, args)), cwd, env))
    process.start()
    return process


def train_quickly(
    *args: object,
    cwd: Path,
    env: dict[str, str] | None = None,
    kill_after: float | None = None,
) -> Ended:
    """Runs what `start_quickly` starts to its end, or kills it after so many seconds."""
    process = start_quickly(*args, cwd=cwd, env=env)
    process.join(kill_after or TIMEOUT)
    if is_late := process.is_alive():
        process.kill()
        process.join()
    out, err = ((cwd / name).read_text() for name in ("out.txt", "err.txt"))
    if is_late and not kill_after:
        raise TimeoutError(out + err)
    return Ended(process.exitcode, out, err)


def _train(args: list[str], cwd: Path, env: dict[str, str] | None) -> None:
    import train

    os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # jobs in the background ignore it
    os.chdir(cwd)
    os.environ.update(env or {})
    for name, descriptor in (("out.txt", 1), ("err.txt", 2)):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), descriptor)
    sys.argv = [str(ROOT / "train.py"), *args]
    train.main()


def wait_for(path: Path) -> None:
    """Waits until there is a file."""
    deadline = time.monotonic() + TIMEOUT
    while not path.exists():
        if time.monotonic() > deadline:
            raise TimeoutError(path)
        time.sleep(0.02)


def run(*command: object, cwd: Path, env: dict[str, str] | None = None) -> Ended:
    """A command in a process group of its own, which is gone afterwards whatever happens."""
    with subprocess.Popen(
        [str(part) for part in command],
        cwd=cwd,
        env={"OMP_NUM_THREADS": "1"} | os.environ | {"COLUMNS": "80"} | (env or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            out, err = process.communicate(timeout=TIMEOUT)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    return Ended(process.returncode, out, err)


def train(*args: object, cwd: Path, env: dict[str, str] | None = None) -> Ended:
    """`python train.py ARGS`."""
    return run(*TRAIN, *args, cwd=cwd, env=env)


def all_gone(pids: Path, within: float) -> bool:
    """Whether the processes that have left their ids in `pids` are gone in so many seconds."""
    deadline = time.monotonic() + within
    while any(_is_alive(int(path.name)) for path in pids.iterdir()):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def _is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"  # dead, and nobody has asked yet
