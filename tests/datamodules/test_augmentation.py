import pytest
import torch
from torch.nn import functional as F

from datamodules.augmentation import RandomCrop


def test_each_image_is_shifted_separately_and_padded_with_black():
    torch.manual_seed(0)
    images = torch.rand(200, 2, 9, 7) + 0.1
    moved = RandomCrop(2)(images)
    padded = F.pad(images, [2] * 4)
    seen = set()
    for before, after in zip(padded, moved, strict=True):
        places = [
            (up, left)
            for up in range(5)
            for left in range(5)
            if torch.equal(before[:, up : up + 9, left : left + 7], after)
        ]
        assert len(places) == 1
        seen.add(places[0])
    assert len(seen) == 25  # every position occurs


def test_without_padding_nothing_is_shifted():
    images = torch.rand(3, 1, 4, 4)
    assert torch.equal(RandomCrop(0)(images), images)
    with pytest.raises(ValueError, match="padding"):
        RandomCrop(-1)
