"""Networks whose forward reads values cannot run on meta tensors; they are checked on real ones."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from inference.inspection import check_image_size, count_macs
from models.lenet import LeNet5
from terminal.errors import UserError


class Plain(LeNet5):
    def __init__(self):
        super().__init__()
        self.activation = nn.Sequential(self.activation, nn.Dropout(0.2))


class Branches(Plain):
    def forward(self, images):
        return super().forward(images if images.mean() < 1e9 else -images)


class ReadsAValue(Plain):
    def forward(self, images):
        return super().forward(images * (images.abs().max().item() >= 0))


class CountsBrightPixels(Plain):
    def forward(self, images):
        return super().forward(images + 0 * len(torch.nonzero(images)))


class HasAPlainTensor(Plain):
    def __init__(self):
        super().__init__()
        self.ones = torch.ones(1)  # neither a parameter nor a buffer: not moved to the device

    def forward(self, images):
        return super().forward(images * self.ones)


READERS = (Branches, ReadsAValue, CountsBrightPixels, HasAPlainTensor)


@pytest.mark.parametrize("net", READERS)
def test_a_network_that_reads_values_trains_like_one_that_does_not(quickstart, tmp_path, net):
    weights = []
    for kind in (Plain, net):
        name = f"{__name__}.{kind.__name__}"
        run = tmp_path / kind.__name__
        recipe = ("--model.net", name, "--trainer.limit_train_batches", 2)
        ended = quickstart(*recipe, "--run_dir", run)
        assert (ended.status, ended.err) == (0, "")
        assert "416,520 MAC" in ended.out or "0.42 MMAC" in ended.out
        file = run / "checkpoints" / "last.ckpt"
        weights.append(torch.load(file, weights_only=True)["state_dict"])
    assert_close(*weights, rtol=0, atol=0)


@pytest.mark.parametrize("net", READERS)
def test_its_cost_and_smallest_images_are_those_of_one_that_does_not(net):
    reader = net()
    state = torch.get_rng_state()
    macs = count_macs(reader, 1, 28)
    check_image_size(reader, 1, 28)
    assert torch.equal(torch.get_rng_state(), state)  # dropout has drawn from a fork of it
    assert macs == count_macs(Plain(), 1, 28) > 0
    messages = []
    for kind in (Plain, net):
        with pytest.raises(UserError) as caught:
            check_image_size(kind(), 1, 8)
        messages.append(str(caught.value).replace(kind.__name__, "the network"))
    assert messages[0] == messages[1]
    with pytest.raises(UserError, match="does not accept images of 3 channels"):
        check_image_size(net(), 3, 28)
