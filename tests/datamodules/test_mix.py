"""Batches that are mixed with their labels: torchvision's MixUp and CutMix."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision.transforms import v2

from datamodules import Digits, Split
from datamodules.batches import GlobalBatchSampler
from tests.conftest import QUICKLY, assert_one_line

MIXERS = {"MixUp": v2.MixUp(alpha=1.0), "CutMix": v2.CutMix(alpha=1.0)}


class Plain(Digits):
    """Each image is of one brightness, which is a function of its label."""

    name = "Plain"
    mean, std = 0.0, 1.0
    native_size = 16

    def load(self, stage):
        labels = torch.arange(40) % 10
        images = (labels * 25).to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 16, 16)
        split = Split(images.contiguous(), labels)
        return {"train": split, "val": split, "test": split}


def mixed(mix, step=0, rank=0, processes=1, training=True, **options) -> tuple[Tensor, Tensor]:
    """The first training batch of a process, as the network gets it in an optimizer step."""
    data = Plain(batch_size=40, mix=mix, **options)
    data.setup("fit")
    sampler = GlobalBatchSampler(40, 40, shuffle=True, rank=rank, world_size=processes)
    module = SimpleNamespace(dtype=torch.float32)
    data.trainer = SimpleNamespace(training=training, global_step=step, lightning_module=module)
    images, labels = data.splits["train"].take(next(iter(sampler)))
    return data.on_after_batch_transfer((images, labels), 0)


def shares(labels: Tensor) -> list[float]:
    """The shares of the first class of mixed samples of two classes each."""
    return sorted({round(value, 5) for value in labels.flatten().tolist()} - {0.0, 1.0})


@pytest.mark.parametrize("mixer", MIXERS)
@pytest.mark.parametrize("channels", [1, 3])
def test_labels_are_the_shares_of_what_an_image_shows(mixer, channels):
    """An image's mean brightness is that of its classes, weighted by their probabilities."""
    brightness = torch.arange(10) * 25 / 255
    for step in range(20):
        images, labels = mixed(MIXERS[mixer], step, channels=channels)
        assert images.shape == (40, channels, 16, 16)
        torch.testing.assert_close(labels.sum(1), torch.ones(40))
        expected = (labels @ brightness)[:, None].expand(-1, channels)
        torch.testing.assert_close(images.mean((2, 3)), expected)
        is_flat = torch.isclose(images.amax((1, 2, 3)), images.amin((1, 2, 3)), atol=1e-6)
        assert is_flat.all() == (mixer == "MixUp")


@pytest.mark.parametrize("mixer", MIXERS)
def test_all_processes_mix_a_step_alike_and_each_step_anew(mixer):
    found = set()
    for step in range(5):
        first, second = (mixed(MIXERS[mixer], step, rank, 2)[1] for rank in range(2))
        assert shares(first) == shares(second) != []
        found.add(tuple(shares(first)))
    assert len(found) == 5


def test_the_shares_follow_the_seed(monkeypatch):
    before = shares(mixed(MIXERS["MixUp"])[1])
    monkeypatch.setenv("PL_GLOBAL_SEED", "7")
    assert shares(mixed(MIXERS["MixUp"])[1]) != before


def test_of_several_each_comes():
    both = list(MIXERS.values())
    flat = [mixed(both, step)[0].std((1, 2, 3)).max() < 1e-6 for step in range(40)]
    assert 10 < np.sum(flat) < 30  # 20 expected; beyond has a chance of 1 in 1,000


def test_validation_is_not_mixed_and_no_other_random_number_moves():
    state = torch.get_rng_state()
    _, labels = mixed(MIXERS["MixUp"], training=False)
    assert labels.dtype == torch.int64
    mixed(MIXERS["CutMix"])
    assert torch.equal(torch.get_rng_state(), state)


def test_a_share_of_a_batch_can_be_without_a_sample():
    data = Plain(mix=MIXERS["MixUp"])
    module = SimpleNamespace(dtype=torch.float32)
    data.trainer = SimpleNamespace(training=True, global_step=0, lightning_module=module)
    empty = (torch.zeros(0, 1, 16, 16, dtype=torch.uint8), torch.zeros(0, dtype=torch.int64))
    images, labels = data.on_after_batch_transfer(empty, 0)
    assert images.shape == (0, 1, 16, 16)
    assert len(labels) == 0


class OnlyImages(nn.Module):
    def forward(self, images, labels):
        return images


class Doubled(nn.Module):
    def forward(self, images, labels):
        return images, 2 * labels


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["torch.nn.ReLU"], ["data.mix", "ReLU", "(2, 1, 28, 28)", "(2, 10)"]),
        (["torchvision.transforms.v2.MixUp", "--data.mix.num_classes", 7], ["MixUp", "10 != 7"]),
        (["torchvision.transforms.v2.MixUp", "--data.mix.alpha", -1], ["-1"]),
        (["tests.datamodules.test_mix.OnlyImages"], ["OnlyImages", "has to return", "(2, 10)"]),
        (["tests.datamodules.test_mix.Doubled"], ["Doubled", "has to return", "(2, 10)"]),
    ],
)
def test_what_does_not_mix_gets_one_line(train, options, named):
    assert_one_line(train(*QUICKLY, "--data.mix", *options), named)
