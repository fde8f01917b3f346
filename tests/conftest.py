"""What several tests share."""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

import train as train_script
from tests.running import train_quickly

ROOT = Path(__file__).parent.parent
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))
QUICKSTART = ROOT / "configs" / "quickstart.yaml"


class Finished(NamedTuple):
    """How a script ended and what it printed."""

    status: int
    out: str
    err: str


def assert_one_line(ended: Finished, named: Sequence[str]) -> None:
    """What every wrong use ends with: status 2 and a line on stderr that names the thing."""
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

    def run(*args: object) -> Finished:
        return train(
            *("--config", QUICKSTART, "--run_dir", "run", "--trainer.max_epochs", "1"), *args
        )

    return run


@pytest.fixture(scope="session")
def digits_run(tmp_path_factory) -> Path:
    """The folder of a finished quick start. Not to be written to."""
    folder = tmp_path_factory.mktemp("digits")
    ended = train_quickly("--config", QUICKSTART, "--run_dir", "run", cwd=folder)
    assert ended.status == 0, ended.err
    return folder / "run"


@pytest.fixture(scope="session")
def data_root() -> str:
    """The folder of the real MNIST and Fashion-MNIST."""
    root = os.environ.get("DATA_ROOT")
    if not root or not (Path(root) / "MNIST").exists():
        pytest.skip("DATA_ROOT does not name a folder with MNIST in it")
    return root
