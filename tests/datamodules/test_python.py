"""Data modules with Lightning's plain Trainer, on one process and on two."""

import json
import re
import sys
from itertools import chain

import pytest
import torch

from datamodules import Digits
from lit_modules import LitClassifier
from models.lenet import LeNet5
from tests.datamodules.on_two_processes import BATCH, SIZES, TRAINERS
from tests.running import ROOT, run

pytestmark = pytest.mark.slow
PYTHON = {"PYTHONPATH": str(ROOT)}
PAGE = (ROOT / "docs" / "training.md").read_text()


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """The samples of two processes with each Trainer, by stage, epoch and batch."""
    folder = tmp_path_factory.mktemp("seen")
    script = ROOT / "tests" / "datamodules" / "on_two_processes.py"
    ended = run(sys.executable, script, cwd=folder, env=PYTHON)
    assert ended.status == 0, ended.err
    return {
        name: [json.loads((folder / f"{name}.{rank}.json").read_text()) for rank in (0, 1)]
        for name in TRAINERS
    }


def steps(seen, stage, epoch, accumulate=1):
    """The samples of each step over both processes, in order."""
    pairs = zip(*(of_process[stage][epoch] for of_process in seen), strict=True)
    batches = [first + second for first, second in pairs]
    return [
        flat(batches[start : start + accumulate]) for start in range(0, len(batches), accumulate)
    ]


def flat(batches):
    return list(chain.from_iterable(batches))


@pytest.mark.parametrize("name", ["plain", "without Lightning's samplers", "accumulating"])
def test_every_sample_comes_once_per_epoch(seen, name):
    accumulate = TRAINERS[name].get("accumulate_grad_batches", 1)
    epochs = [steps(seen[name], "train", epoch, accumulate) for epoch in range(2)]
    for epoch in epochs:
        assert sorted(flat(epoch)) == list(range(SIZES["train"]))
        assert [len(step) for step in epoch] == [BATCH] * 7 + [9, 8]
    assert epochs[0] != epochs[1]
    assert epochs == [steps(seen["plain"], "train", epoch) for epoch in range(2)]
    for stage, split, runs in (("val", "val", 3), ("test", "test", 1), ("predict", "test", 1)):
        assert len(seen[name][0][stage]) == runs
        for epoch in range(runs):
            given = flat(steps(seen[name], stage, epoch))
            assert sorted(given) == list(range(SIZES[split])), stage


def test_overfitting_is_on_the_first_batches_unshuffled(seen):
    first = [list(range(BATCH)), list(range(BATCH, 2 * BATCH))]
    for epoch in range(2):
        assert steps(seen["overfitting"], "train", epoch) == first
        assert steps(seen["overfitting"], "val", epoch) == first


def test_a_trial_is_one_batch_of_each(seen):
    for stage in ("train", "val", "test", "predict"):
        assert len(flat(steps(seen["trying"], stage, 0))) == BATCH


def example():
    """The code for training from Python in docs/training.md."""
    (code,) = (
        block
        for block in re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
        if "Trainer" in block
    )
    return code


@pytest.mark.parametrize("devices", [None, 2])
def test_the_example_of_the_page_learns(tmp_path, devices):
    """Unchanged on one process, and on two."""
    code = example()
    if devices:
        two = f'Trainer(accelerator="cpu", devices={devices}, '
        assert code.count("Trainer(") == 1
        code = code.replace("Trainer(", two)
    (tmp_path / "example.py").write_text(f"{code}print(tuple(logits.shape))\n")
    ended = run(sys.executable, "example.py", cwd=tmp_path, env=PYTHON)
    assert ended.status == 0, ended.err
    assert ended.out.count(f"({360 // (devices or 1)}, 10)") == (devices or 1)
    (checkpoint,) = tmp_path.rglob("*.ckpt")
    classifier = LitClassifier.load_from_checkpoint(checkpoint, net=LeNet5("tanh")).eval()
    data = Digits(image_size=28)
    data.setup("fit")
    images, labels = data.splits["val"]
    with torch.no_grad():
        logits = classifier.cpu()(data.preprocessing(images.float() / 255))
    assert (logits.argmax(1) == labels).float().mean() > 0.9
