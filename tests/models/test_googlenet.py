import pytest
import torch
from torch import nn

from inference.inspection import count_macs
from models.googlenet import GoogLeNet, GoogLeNetOutput, Inception


def test_an_inception_block_has_a_5x5_and_concatenates_its_branches_in_order():
    torch.manual_seed(0)
    block = Inception(8, 2, (3, 4), (5, 6), 7)
    x = torch.randn(2, 8, 9, 9)
    assert block.branch5[1][0].kernel_size == (5, 5)
    one, three, five, pool = block(x).split([2, 4, 6, 7], dim=1)
    conv, relu = nn.functional.conv2d, torch.relu

    def apply(layer, x, padding=0):
        return relu(conv(x, layer[0].weight, layer[0].bias, padding=padding))

    torch.testing.assert_close(one, apply(block.branch1, x))
    torch.testing.assert_close(three, apply(block.branch3[1], apply(block.branch3[0], x), 1))
    torch.testing.assert_close(five, apply(block.branch5[1], apply(block.branch5[0], x), 2))
    pooled = nn.functional.max_pool2d(x, 3, 1, 1)
    torch.testing.assert_close(pool, apply(block.branch_pool[1], pooled))


def test_heads_run_in_training_only_and_cost_nothing_if_disabled():
    net, images = GoogLeNet(num_classes=7), torch.randn(3, 1, 64, 64)
    output = net.train()(images)
    assert isinstance(output, GoogLeNetOutput)
    assert [head.shape for head in output] == [(3, 7)] * 3
    assert net.eval()(images).shape == (3, 7)
    bare = GoogLeNet(aux_logits=False, num_classes=7)
    assert bare.train()(images).shape == (3, 7)
    assert not [name for name, _ in bare.named_parameters() if "aux" in name]
    assert count_macs(net, 1, 224) == count_macs(bare, 1, 224)


def test_heads_get_the_feature_maps_of_the_paper():
    net, seen = GoogLeNet(), {}
    for name in ("aux1", "aux2"):
        head = getattr(net, name)
        head.register_forward_pre_hook(lambda _, x, name=name: seen.update({name: x[0].shape[1:]}))
        head.reduce.register_forward_hook(
            lambda _, __, x, name=name: seen.update({f"{name} pooled": x.shape[1:]})
        )
    net.to("meta").train()(torch.empty(2, 1, 224, 224, device="meta"))
    assert seen["aux1"] == (512, 14, 14)
    assert seen["aux2"] == (528, 14, 14)
    assert seen["aux1 pooled"] == seen["aux2 pooled"] == (128, 4, 4)


@pytest.mark.parametrize("aux_logits", [True, False])
def test_batch_norm_is_an_option(aux_logits):
    def norms(net):
        return sum(isinstance(module, nn.BatchNorm2d) for module in net.modules())

    def convs(net):
        return sum(isinstance(module, nn.Conv2d) for module in net.modules())

    assert norms(GoogLeNet(aux_logits)) == 0
    normed = GoogLeNet(aux_logits, batch_norm=True)
    assert norms(normed) == convs(normed) == (59 if aux_logits else 57)
