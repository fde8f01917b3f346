"""A training keeps the memory of its tensors, and gives it back at its end: told by the kernel."""

import platform
import sys

import pytest

from tests.conftest import QUICKSTART
from tests.running import ROOT, run

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")

BLOCK = 2**26  # bytes: far above what glibc keeps by itself
PAGES = BLOCK // 4096
SCRIPT = f"""
import resource, sys
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


def test_a_training_keeps_memory_and_gives_it_back(tmp_path):
    (tmp_path / "probe.py").write_text("from __main__ import Probe\n")
    short = ("--trainer.max_epochs", 1, "--trainer.limit_train_batches", 8, "--dashboard", "false")
    arguments = ("--config", QUICKSTART, *short, "--trainer.callbacks", "probe.Probe")
    environment = {"PYTHONPATH": f"{ROOT}:{tmp_path}"}
    told = map(str, arguments)
    ended = run(sys.executable, "-c", SCRIPT, *told, cwd=tmp_path, env=environment)
    assert ended.status == 0, ended.err
    *steps, in_training, afterwards, by_itself = map(int, ended.out.splitlines()[-1].split())
    assert len(steps) == 8
    assert max(steps[4:]) < PAGES / 10
    assert afterwards < in_training - PAGES
    # Without this the test would prove nothing. A kernel with large pages clears fewer of them.
    assert by_itself > 10 * max(steps[4:])
