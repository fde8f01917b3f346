"""Runs the scripts in separate processes, as a user does."""

import contextlib
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
TRAIN = (sys.executable, str(ROOT / "train.py"))
TORCHRUN = (sys.executable, "-m", "torch.distributed.run")
TIMEOUT = 200  # seconds

HAS_FORKSERVER = "forkserver" in multiprocessing.get_all_start_methods()  # Windows does not
_forkserver = multiprocessing.get_context("forkserver" if HAS_FORKSERVER else "spawn")
_forkserver.set_forkserver_preload(
    ["train", "training.cli", "training.results", "sklearn.datasets"]
)


class Ended(NamedTuple):
    """Exit status of a process, negative for a signal, and what it printed."""

    status: int
    out: str
    err: str


def start_quickly(
    *args: object, cwd: Path, env: dict[str, str] | None = None, output: str = ""
) -> multiprocessing.Process:
    """Starts `python train.py ARGS` in a new process whose imports are already done.

    Args:
        args: The arguments.
        cwd: The working folder, also of the output files out.txt and err.txt.
        env: Further environment variables.
        output: Prefix of the names of these files.
    """
    process = _forkserver.Process(target=_train, args=(list(map(str, args)), cwd, env, output))
    process.start()
    return process


def train_quickly(
    *args: object,
    cwd: Path,
    env: dict[str, str] | None = None,
    kill_after: float | None = None,
) -> Ended:
    """Runs `start_quickly` to the end, or kills the process after `kill_after` seconds."""
    return _end(start_quickly(*args, cwd=cwd, env=env), cwd, kill_after=kill_after)


def train_together(
    processes: int,
    *args: object,
    cwd: Path | list[Path],
    machines: int = 1,
    env: dict[str, str] | None = None,
) -> list[Ended]:
    """Runs `train.py ARGS` in several processes as torchrun does, with the imports already done.

    Args:
        processes: Number of processes over all machines.
        args: The arguments, with a --run_dir.
        cwd: The working folder, or a list of one for each process.
        machines: Number of machines to simulate.
        env: Further environment variables.

    Returns:
        How each process ended, by rank.
    """
    here = processes // machines
    folders = cwd if isinstance(cwd, list) else [cwd] * processes
    world = {
        **{"WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": str(here)},
        **{"TORCHELASTIC_RUN_ID": "none", "MASTER_ADDR": "127.0.0.1"},
        "MASTER_PORT": str(free_port()),
    }
    devices = ("--trainer.accelerator", "cpu", "--trainer.devices", here)
    started = []
    for rank, folder in enumerate(folders):
        place = {"RANK": rank, "LOCAL_RANK": rank % here, "GROUP_RANK": rank // here}
        told = world | {name: str(value) for name, value in place.items()} | (env or {})
        options = (*args, *devices, "--trainer.num_nodes", machines)
        started.append(start_quickly(*options, cwd=folder, env=told, output=f"{rank}."))
    return [
        _end(process, folder, output=f"{rank}.")
        for rank, (process, folder) in enumerate(zip(started, folders, strict=True))
    ]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def _end(
    process: multiprocessing.Process, cwd: Path, kill_after: float | None = None, output: str = ""
) -> Ended:
    process.join(kill_after or TIMEOUT)
    if is_late := process.is_alive():
        process.kill()
        process.join()
    out, err = ((cwd / f"{output}{name}").read_text() for name in ("out.txt", "err.txt"))
    if is_late and not kill_after:
        raise TimeoutError(out + err)
    return Ended(process.exitcode, out, err)


def _train(args: list[str], cwd: Path, env: dict[str, str] | None, output: str) -> None:
    import train

    os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs ignore SIGINT
    os.chdir(cwd)
    os.environ.update(env or {})
    for name, descriptor in (("out.txt", 1), ("err.txt", 2)):
        file = os.open(f"{output}{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.dup2(file, descriptor)
    sys.argv = [str(ROOT / "train.py"), *args]
    train.main()


def wait_for(path: Path) -> None:
    """Waits until a file exists."""
    deadline = time.monotonic() + TIMEOUT
    while not path.exists():
        if time.monotonic() > deadline:
            raise TimeoutError(path)
        time.sleep(0.02)


def run(*command: object, cwd: Path, env: dict[str, str] | None = None) -> Ended:
    """Runs a command in its own process group, which is always killed afterwards."""
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
    """Whether all processes whose ids are file names in `pids` end within so many seconds."""
    deadline = time.monotonic() + within
    while any(_is_alive(int(path.name)) for path in pids.iterdir()):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def _is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"  # a zombie has ended
