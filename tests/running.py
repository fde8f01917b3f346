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
TIMEOUT = 200  # seconds

_forkserver = multiprocessing.get_context("forkserver")
_forkserver.set_forkserver_preload(["train"])


class Ended(NamedTuple):
    """How a process ended: its status, negative for a signal, and what it printed."""

    status: int
    out: str
    err: str


def train_quickly(
    *args: object,
    cwd: Path,
    env: dict[str, str] | None = None,
    kill_after: float | None = None,
) -> Ended:
    """`python train.py ARGS` in a fresh process that has its imports done already.

    Args:
        args: The arguments.
        cwd: The folder it runs in, and leaves its output in.
        env: Further environment variables.
        kill_after: Seconds after which it is sent SIGKILL.
    """
    out, err = cwd / "out.txt", cwd / "err.txt"
    process = _forkserver.Process(target=_train, args=(list(map(str, args)), cwd, env, out, err))
    process.start()
    process.join(kill_after or TIMEOUT)
    if kill_after and process.is_alive():
        process.kill()
        process.join()
    if process.is_alive():
        process.kill()
        raise TimeoutError(out.read_text() + err.read_text())
    return Ended(process.exitcode, out.read_text(), err.read_text())


def _train(args: list[str], cwd: Path, env: dict[str, str] | None, out: Path, err: Path) -> None:
    import train

    os.setpgid(0, 0)
    os.chdir(cwd)
    os.environ.update(env or {})
    for path, descriptor in ((out, 1), (err, 2)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    sys.argv = [str(ROOT / "train.py"), *args]
    train.main()


def run(*command: object, cwd: Path, env: dict[str, str] | None = None) -> Ended:
    """A command in a process group of its own, which is gone afterwards whatever happens."""
    with subprocess.Popen(
        [str(part) for part in command],
        cwd=cwd,
        env=os.environ | {"COLUMNS": "80", "OMP_NUM_THREADS": "1"} | (env or {}),
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
    return run(sys.executable, ROOT / "train.py", *args, cwd=cwd, env=env)


def torchrun(*args: object, cwd: Path, env: dict[str, str] | None = None) -> Ended:
    """`torchrun ARGS`."""
    return run(sys.executable, "-m", "torch.distributed.run", *args, cwd=cwd, env=env)


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
