import pytest
import torch

from inference.inspection import count_macs, count_parameters
from models.lenet import LeNet5


def test_counts_equal_the_papers():
    # C1 156, C3 with its full connection table 2,416, C5 48,120, F6 10,164, output 850.
    assert count_parameters(LeNet5()) == 61_706
    assert count_macs(LeNet5(), channels=1, image_size=28) == 416_520


def test_feature_maps_have_the_papers_sizes():
    net, shapes = LeNet5(), {}
    for name in ("c1", "c3", "c5", "f6", "output"):
        module = getattr(net, name)
        module.register_forward_hook(
            lambda _, __, out, name=name: shapes.update({name: out.shape[1:]})
        )
    net(torch.zeros(1, 1, 28, 28))
    assert shapes == {
        "c1": (6, 28, 28),
        "c3": (16, 10, 10),
        "c5": (120, 1, 1),
        "f6": (84,),
        "output": (10,),
    }


@pytest.mark.parametrize(
    ("activation", "function"),
    [("sigmoid", torch.sigmoid), ("tanh", torch.tanh), ("relu", torch.relu)],
)
def test_forward_is_the_paper_layer_by_layer(activation, function):
    torch.manual_seed(0)
    net = LeNet5(activation=activation, in_channels=3, num_classes=7)
    images = torch.randn(4, 3, 28, 28)
    conv, pool = torch.nn.functional.conv2d, torch.nn.functional.avg_pool2d
    x = pool(function(conv(images, net.c1.weight, net.c1.bias, padding=2)), 2)
    x = pool(function(conv(x, net.c3.weight, net.c3.bias)), 2)
    x = function(conv(x, net.c5.weight, net.c5.bias)).flatten(1)
    x = function(x @ net.f6.weight.T + net.f6.bias)
    torch.testing.assert_close(net(images), x @ net.output.weight.T + net.output.bias)
