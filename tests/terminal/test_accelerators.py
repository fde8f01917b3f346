"""Accelerators other than CUDA, by an accelerator that pretends."""

import sys
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import Trainer
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves

from callbacks import dashboard
from callbacks.stopwatch import Stopwatch
from datamodules import Digits
from lit_modules import LitClassifier
from models.lenet import LeNet5
from terminal.devices import best_device, device_name, peak_memory_bytes, synchronize
from terminal.errors import UserError
from tests.conftest import QUICKLY
from tests.running import ROOT, run
from training.network_checks import check_precision
from training.precision import usual_precision
from training.results import versions

MPS, XPU = torch.device("mps"), torch.device("xpu", 0)
# CUDA alone is asked about bfloat16, and pins memory for faster copies.
OF_CUDA = {"training/precision.py", "datamodules/in_memory.py"}


@pytest.fixture(params=[MPS, XPU], ids=str)
def device(request, monkeypatch):
    """Torch as on a machine with this accelerator."""
    monkeypatch.setattr(torch._C, "_accelerator_getAccelerator", lambda: request.param)
    monkeypatch.setattr(torch.get_device_module(request.param), "is_available", lambda: True)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: request.param == MPS)
    return request.param


def test_it_is_the_best_device(device):
    assert best_device() == device


def test_the_processor_is_the_best_device_without_any(monkeypatch):
    monkeypatch.setattr(torch._C, "_accelerator_getAccelerator", lambda: None)
    assert best_device() == torch.device("cpu")


def test_its_name(monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "get_name", lambda: "Apple M2")
    monkeypatch.setattr(torch.xpu, "get_device_name", {XPU: "Intel Arc"}.get)
    assert device_name(MPS) == "mps (Apple M2)"
    assert device_name(XPU) == "Intel Arc"
    assert device_name(torch.device("cpu")).startswith("cpu (")


def test_its_memory(monkeypatch):
    monkeypatch.setattr(torch._C, "_mps_driverAllocatedMemory", lambda: 11, raising=False)
    statistics = {"allocated_bytes": {"all": {"current": 5, "peak": 7}}}
    monkeypatch.setattr(torch._C, "_accelerator_isAllocatorInitialized", lambda: True)
    monkeypatch.setattr(torch._C, "_accelerator_getDeviceStats", lambda index: statistics)
    monkeypatch.setattr(torch._C, "_accelerator_getAccelerator", lambda: XPU)
    assert peak_memory_bytes(MPS) == 11
    assert peak_memory_bytes(XPU) == 7


CHILD = """
import torch
from terminal.devices import peak_memory_bytes
before = peak_memory_bytes(torch.device("cpu"))
torch.ones(400_000_000, dtype=torch.uint8)
print(before, peak_memory_bytes(torch.device("cpu")))
"""
PARENT = """
import subprocess, sys
bytearray(b"1") * 2_000_000_000
print(subprocess.check_output([sys.executable, "-c", sys.argv[1]], text=True))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="Linux tells a child its parent's peak")
def test_the_memory_of_a_process_is_not_that_of_its_parent():
    ended = run(sys.executable, "-c", PARENT, CHILD, cwd=ROOT)
    before, after = map(int, ended.out.split())
    assert before < 1_900_000_000
    assert 390_000_000 < after - before < 420_000_000


def test_it_is_waited_for(monkeypatch):
    """A stopwatch that does not wait measures how fast work is given, not done."""
    waited = []
    monkeypatch.setattr(torch.accelerator, "synchronize", waited.append)
    watch = Stopwatch()
    for of in (MPS, XPU, torch.device("cpu")):
        watch.on_train_epoch_start(None, None)
        watch._pause(SimpleNamespace(strategy=SimpleNamespace(root_device=of)))
        synchronize(of)
    assert waited == [MPS, MPS, XPU, XPU]


def test_its_precision_is_not_that_of_the_processor(device, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True})
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    assert usual_precision("auto", 10**9) == "32-true"
    assert usual_precision("cpu", 10**9) == "bf16-mixed"


def test_mps_has_no_64_bits(device):
    module = LitClassifier(LeNet5("tanh"))
    check_precision(module, "16-mixed", "auto")
    check_precision(module, "64-true", "cpu")
    if device == MPS:
        with pytest.raises(UserError, match="MPS has no 64-bit numbers"):
            check_precision(module, "64-true", "auto")


class No64Bits(TorchDispatchMode):
    """Refuses to compute in 64 bits, as MPS does."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for part in tree_leaves(result):
            if isinstance(part, torch.Tensor) and part.dtype == torch.float64:
                raise TypeError(f"{func} in 64 bits")
        return result


def test_no_training_step_is_in_64_bits(train, monkeypatch):
    """The processor, with the arithmetic of MPS, trains, validates, tests and draws."""
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    load, done = Digits.load, []

    def load_on_the_processor(self, stage):
        with _disable_current_modes():
            return load(self, stage)

    monkeypatch.setattr(Digits, "load", load_on_the_processor)
    monkeypatch.setattr("callbacks.dashboard._add_graph", lambda *args: None)  # as the next test

    def refusing(original):
        def run(*args, **kwargs):
            done.append(original.__name__)
            with No64Bits():
                return original(*args, **kwargs)

        return run

    for method in (Trainer.fit, Trainer.test):
        monkeypatch.setattr(Trainer, method.__name__, refusing(method))
    ended = train(*QUICKLY[:-1], "true", "--trainer.accelerator", "cpu", "--run_dir", "run")
    assert (ended.status, done) == (0, ["fit", "test"]), ended.err


def test_the_graph_is_traced_on_the_processor(monkeypatch):
    """As torch compares the outputs of a trace in 64 bits."""
    moved, drawn = [], []

    def cpu(part):
        moved.append(type(part))
        return part

    monkeypatch.setattr(LeNet5, "cpu", cpu)
    monkeypatch.setattr(torch.Tensor, "cpu", cpu)
    writer = SimpleNamespace(add_graph=lambda net, images: drawn.append(images))
    images = torch.rand(1, 1, 28, 28)
    dashboard._add_graph(writer, LeNet5("tanh"), images)
    assert moved == [LeNet5, torch.Tensor]
    assert drawn == [images]


def test_versions_name_rocm(monkeypatch):
    monkeypatch.setattr(torch.version, "hip", "6.4.1")
    assert versions()["hip"] == "6.4.1"


def test_the_code_names_cuda_only_for_what_only_cuda_has():
    rooms = [path for path in ROOT.iterdir() if (path / "__init__.py").exists()]
    files = [*ROOT.glob("*.py"), *(ROOT / "benchmarks").glob("*.py")]
    files += [path for room in rooms for path in room.rglob("*.py")]
    naming = {path for path in files if "torch.cuda." in path.read_text(encoding="utf-8")}
    assert {path.relative_to(ROOT).as_posix() for path in naming} <= OF_CUDA
