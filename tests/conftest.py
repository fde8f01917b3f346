"""Fixtures and helpers that several tests share."""

import hashlib
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
from filelock import FileLock

import train as train_script
from tests.running import train_quickly

ROOT = Path(__file__).parent.parent
CONFIGS = [*(ROOT / "configs").glob("*.yaml"), *(ROOT / "configs" / "laptop").glob("*.yaml")]
CONFIGS.sort()
QUICKSTART = ROOT / "configs" / "quickstart.yaml"
# No dashboard: its pictures take longer than the training. Its own tests enable it.
QUICKLY = ("--config", QUICKSTART, "--trainer.max_epochs", "1", "--dashboard", "false")


class Finished(NamedTuple):
    """How a script ended and what it printed."""

    status: int
    out: str
    err: str


def assert_one_line(ended: Finished, named: Sequence[str]) -> None:
    """Checks that a wrong use ends with status 2 and one line on stderr that names the cause."""
    assert ended.status == 2
    assert len(ended.err.splitlines()) == 1
    for word in named:
        assert word in ended.err
    assert "Traceback" not in ended.err
    assert ended.out == ""


@pytest.fixture
def run_script(tmp_path, monkeypatch, capsys) -> Callable[..., Finished]:
    """Runs the `main` of a script with the given arguments in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(main: Callable[[], None], *args: object) -> Finished:
        monkeypatch.setattr(sys, "argv", [f"{main.__module__}.py", *map(str, args)])
        status = 0
        try:
            main()
        except SystemExit as exit:
            status = int(exit.code or 0)
        return Finished(status, *capsys.readouterr())

    return run


@pytest.fixture
def train(run_script) -> Callable[..., Finished]:
    """Runs `train.py` with the given arguments in this process, in an empty folder."""
    return lambda *args: run_script(train_script.main, *args)


@pytest.fixture
def quickstart(train) -> Callable[..., Finished]:
    """Runs the quick start for one epoch in the folder `run`, with further arguments."""
    return lambda *args: train(*QUICKLY, "--run_dir", "run", *args)


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> Callable[..., Path]:
    """Returns the folder of a finished run of the quick start with the given arguments.

    It is trained once for the tests of all processes of pytest: do not write to it. Its working
    folder, `parents[2]`, holds the output in `out.txt` and the seconds, with the start, in
    `seconds.txt`.
    """
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent

    def run(*args: object) -> Path:
        folder = base / f"trained_{hashlib.md5(repr(args).encode()).hexdigest()}"
        with FileLock(f"{folder}.lock"):
            if not (folder / "seconds.txt").exists():
                folder.mkdir(exist_ok=True)  # a training that failed fails again, with its reason
                start = time.monotonic()
                ended = train_quickly(*args, cwd=folder)
                assert (ended.status, ended.err) == (0, "")
                (folder / "seconds.txt").write_text(str(time.monotonic() - start))
        return folder / "runs" / "quickstart" / "1"

    return run


@pytest.fixture(scope="session")
def digits_run(trained) -> Path:
    """The folder of a finished quick start. Do not write to it."""
    return trained("--config", QUICKSTART)


@pytest.fixture(scope="session")
def data_root() -> str:
    """The folder of the real MNIST and Fashion-MNIST."""
    root = os.environ.get("DATA_ROOT")
    if not root or not (Path(root) / "MNIST").exists():
        pytest.skip("DATA_ROOT does not name a folder with MNIST in it")
    return root
