"""One thread per processor, shared between processes, unless the user sets a number."""

import json
import os
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback

from terminal import devices
from terminal.devices import limit_threads, usable_processors
from terminal.scripts import ScriptParser
from tests.conftest import QUICKSTART
from tests.running import TRAIN, run


@pytest.fixture
def eight_threads(monkeypatch):
    """Torch as on a host with eight cores, without settings of the user."""
    for name in devices.SET_BY_THE_USER:
        monkeypatch.delenv(name, raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(8)
    yield
    torch.set_num_threads(before)
    os.environ.pop("OMP_NUM_THREADS", None)  # set by the tested code; monkeypatch restores the rest


@pytest.mark.parametrize(
    ("processors", "processes", "expected"),
    [(4, 1, 4), (4, 2, 2), (3, 2, 1), (2, 4, 1), (16, 1, 8)],
)
def test_no_more_threads_than_processors(
    eight_threads, monkeypatch, processors, processes, expected
):
    monkeypatch.setattr(devices, "usable_processors", lambda: processors)
    limit_threads(processes)
    assert torch.get_num_threads() == expected
    assert os.environ["OMP_NUM_THREADS"] == str(expected)


@pytest.mark.parametrize("name", devices.SET_BY_THE_USER)
def test_the_users_settings_are_kept(eight_threads, monkeypatch, name):
    monkeypatch.setenv(name, "8")
    monkeypatch.setattr(devices, "usable_processors", lambda: 2)
    limit_threads()
    assert torch.get_num_threads() == 8


def test_scripts_that_read_a_checkpoint_limit_their_threads(eight_threads, monkeypatch):
    monkeypatch.setattr(devices, "usable_processors", lambda: 2)
    ScriptParser("Reads a checkpoint.")
    assert torch.get_num_threads() == 2


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="processes cannot be bound here")
def test_processors_are_counted_for_the_process():
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert usable_processors() == 1
    finally:
        os.sched_setaffinity(0, before)


class Threads(Callback):
    """Records the number of threads in training."""

    def on_train_start(self, trainer, pl_module):
        Path("threads.json").write_text(json.dumps(torch.get_num_threads()), encoding="utf-8")


@pytest.mark.slow
def test_a_training_has_a_thread_for_each_processor(tmp_path):
    """The limit of joblib simulates a container's quota."""
    ended = run(
        *("env", "-u", "OMP_NUM_THREADS", *TRAIN, "--config", QUICKSTART, "--run_dir", "run"),
        *("--trainer.max_epochs", 1, "--trainer.accelerator", "cpu"),
        *("--trainer.callbacks+", f"{__name__}.Threads"),
        cwd=tmp_path,
        env={"LOKY_MAX_CPU_COUNT": "1"},
    )
    assert (ended.status, ended.err) == (0, "")
    assert ", 1 cores)" in ended.out
    assert json.loads((tmp_path / "threads.json").read_text()) == 1
