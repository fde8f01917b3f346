"""Preprocessing of batches of any size: the same bits with fewer threads."""

import sys

import pytest
import torch

from datamodules import Digits
from datamodules.preprocessing import SMALL, one_thread_if_small
from tests.running import ROOT, run


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
def test_small_work_on_a_cpu_uses_one_thread():
    def threads_within(elements, device):
        with one_thread_if_small(elements, torch.device(device)):
            return torch.get_num_threads()

    assert threads_within(SMALL, "cpu") == 1
    assert threads_within(SMALL + 1, "cpu") == 2
    assert threads_within(1, "cuda") == 2
    with pytest.raises(ValueError, match="within"), one_thread_if_small(1, torch.device("cpu")):
        raise ValueError("within")
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("size", [8, 28, 6])
def test_one_thread_and_two_give_the_same_bits(size):
    data = Digits(image_size=size)
    data.setup("fit")
    images = data.splits["train"].images
    by_two = data.preprocessing(images.float() / 255)
    assert images.shape[0] * size**2 < SMALL
    assert torch.equal(data.preprocess_images(images, is_training=False), by_two)


THREADS = """
import os
import torch
from datamodules import InMemoryDataModule, Split

class Random(InMemoryDataModule):
    name, classes, mean, std, native_size = "Random", ("one",), 0.5, 0.3, 28

    def load(self, stage):
        images = torch.empty(12_800, 1, 28, 28, dtype=torch.uint8)
        split = Split(images, torch.zeros(len(images), dtype=torch.int64))
        return {"train": split, "val": split}

def threads():
    return len(os.listdir("/proc/self/task"))

torch.set_num_threads(4)
data = Random()
data.setup("fit")
before = threads()
for images, labels in data.train_dataloader():
    data.preprocess_images(images, is_training=True)
print(threads() - before)
Random(image_size=224).preprocess_images(images, is_training=True)
print(threads() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="threads are counted in /proc")
def test_small_batches_start_no_threads_and_large_ones_do(tmp_path):
    """An epoch at 28 x 28 uses none of torch's other threads."""
    ended = run(sys.executable, "-c", THREADS, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)})
    assert ended.status == 0, ended.err
    small, large = map(int, ended.out.split())
    assert small == 0
    assert large == 3


class Brighten(torch.nn.Module):
    def forward(self, images):
        return images / images.max()


@pytest.mark.parametrize("size", [8, 28, 4])
@pytest.mark.parametrize("channels", [1, 3])
def test_an_empty_share_is_an_empty_batch(size, channels):
    data = Digits(image_size=size, channels=channels, augment=[Brighten()])
    nothing = torch.empty(0, 1, 8, 8, dtype=torch.uint8)
    for is_training in (True, False):
        prepared = data.preprocess_images(nothing, is_training)
        assert prepared.shape == (0, channels, size, size)
        assert prepared.dtype == torch.float32
