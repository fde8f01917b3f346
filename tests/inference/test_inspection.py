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


class UsesNumpy(Plain):
    def forward(self, images):
        return super().forward(images + 0 * images.numpy().max())


class TurnsAutocastOff(Plain):
    def forward(self, images):
        with torch.autocast(images.device.type, enabled=False):
            return super().forward(images.float())


class HasAConstant(Plain):
    """Neither a parameter nor a buffer: it stays on the CPU, where this trains."""

    def __init__(self):
        super().__init__()
        self.ones = torch.ones(1)

    def forward(self, images):
        return super().forward(images * self.ones)


class RandomFirst(Plain):
    def forward(self, images):
        return super().forward(images + 0 * torch.rand(1) * images.mean().item())


NETS = (Branches, ReadsAValue, CountsBrightPixels, UsesNumpy, TurnsAutocastOff, HasAConstant)


@pytest.mark.parametrize("net", NETS)
def test_a_network_that_reads_values_trains_like_one_that_does_not(quickstart, tmp_path, net):
    weights = []
    for kind in (Plain, net):
        name = f"{__name__}.{kind.__name__}"
        run = tmp_path / kind.__name__
        recipe = ("--model.net", name, "--trainer.limit_train_batches", 2)
        ended = quickstart(*recipe, "--run_dir", run)
        assert (ended.status, ended.err) == (0, "")
        assert "0.42 MMAC" in ended.out
        file = run / "checkpoints" / "last.ckpt"
        weights.append(torch.load(file, weights_only=True)["state_dict"])
    assert_close(*weights, rtol=0, atol=0)


@pytest.mark.parametrize("net", [*NETS, RandomFirst])
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


class Reads(nn.Module):
    """Rows of an image as a sequence, in a layer that has kernels of its own on the CPU."""

    def __init__(self, layer, reads):
        super().__init__()
        self.layer, self.reads = layer, reads

    def forward(self, images):
        if self.reads:
            assert images.mean() < 1e9
        rows = images.squeeze(1)
        if isinstance(self.layer, nn.MultiheadAttention):
            return self.layer(rows, rows, rows)[0]
        return self.layer(rows)


LAYERS = {
    "encoder": lambda: nn.TransformerEncoderLayer(28, 4, 64, batch_first=True),
    "attention": lambda: nn.MultiheadAttention(28, 4, batch_first=True),
    "lstm": lambda: nn.LSTM(28, 32, batch_first=True),
    "gru": lambda: nn.GRU(28, 32, batch_first=True),
    "rnn": lambda: nn.RNN(28, 32, batch_first=True),
    "linear": lambda: nn.Linear(28, 32),
}
# Per row of 28: its products with the weights, those of the state of 32 and, in attention, of each
# of the two products of 28 rows.
PER_ROW = {
    "encoder": 4 * 28 * 28 + 2 * 28 * 28 + 2 * 28 * 64,
    "attention": 4 * 28 * 28 + 2 * 28 * 28,
    "lstm": 4 * (28 + 32) * 32,
    "gru": 3 * (28 + 32) * 32,
    "rnn": (28 + 32) * 32,
    "linear": 28 * 32,
}


@pytest.mark.parametrize("reads", [False, True])
@pytest.mark.parametrize("layer", LAYERS)
def test_multiply_accumulates_are_counted_in_layers_with_kernels_of_their_own(layer, reads):
    assert count_macs(Reads(LAYERS[layer](), reads), 1, 28) == 28 * PER_ROW[layer]
