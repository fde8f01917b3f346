"""A training keeps the memory of its tensors, and gives it back at its end: told by the kernel."""

import os
import platform
import statistics
import sys

import pytest

from tests.conftest import QUICKSTART
from tests.running import ROOT, run

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")

BLOCK = 2**26  # bytes: far above what glibc keeps by itself
PAGES = BLOCK // os.sysconf("SC_PAGESIZE") if hasattr(os, "sysconf") else 0
SCRIPT = f"""
import ctypes, resource
ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)  # PR_SET_THP_DISABLE: small pages
import torch
from lightning.pytorch import Callback
import train

def new_pages():
    "Pages that the kernel clears for two blocks, used three times."
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(3):
        blocks = [torch.empty({BLOCK} // 4).fill_(1) for _ in range(2)]
        del blocks
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def held():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1])

class Probe(Callback):
    def on_train_batch_end(self, trainer, *args):
        found.append(new_pages())

    def on_train_end(self, *args):
        found.append(held())

found = []
train.main()
print(*found, held(), new_pages())
"""


@pytest.fixture
def training(tmp_path, monkeypatch):
    """Pages cleared in each step of a training; pages held at its end, after it; cleared then."""
    for name in ("GLIBC_TUNABLES", *(name for name in os.environ if name.startswith("MALLOC_"))):
        monkeypatch.delenv(name, raising=False)

    def run_with(**environment):
        (tmp_path / "probe.py").write_text("from __main__ import Probe\n")
        arguments = (
            *("--config", QUICKSTART, "--dashboard", "false", "--trainer.max_epochs", 1),
            *("--trainer.limit_train_batches", 8, "--trainer.callbacks", "probe.Probe"),
        )
        environment["PYTHONPATH"] = f"{ROOT}:{tmp_path}"
        told = map(str, arguments)
        ended = run(sys.executable, "-c", SCRIPT, *told, cwd=tmp_path, env=environment)
        assert ended.status == 0, ended.err
        *steps, in_training, afterwards, by_itself = map(int, ended.out.splitlines()[-1].split())
        assert len(steps) == 8
        return steps[4:], in_training, afterwards, by_itself

    return run_with


def test_a_training_keeps_memory_and_gives_it_back(training):
    steps, in_training, afterwards, by_itself = training()
    assert statistics.median(steps) < PAGES / 10  # now and then a block finds no room
    assert afterwards < in_training - PAGES
    assert by_itself > PAGES  # without this, the test would prove nothing


def test_what_the_user_has_set_stays(training):
    steps, *_, by_itself = training(MALLOC_MMAP_MAX_="65536", MALLOC_TRIM_THRESHOLD_="131072")
    assert min(steps) > PAGES
    assert by_itself > PAGES
