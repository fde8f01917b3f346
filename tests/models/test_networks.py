"""Promises of every network."""

import inspect

import pytest
import torch
from torch import nn

from inference.inspection import check_image_size, count_macs, count_parameters
from terminal.errors import UserError
from tests.models.networks import NETWORKS

SIZES = {"lenet.LeNet5": 28}
# Of the files whose networks do not take images of 20 x 20.
SMALLEST = {"lenet": 28, "alexnet": 67, "nin": 67, "vgg": 32, "googlenet": 31, "densenet": 29}
# Parameters with 1 channel and 10 classes, millions of MACs at 224, parameters with 3 channels and
# 1000 classes: by hand from the papers' layer lists, for those of torchvision also from there.
COUNTS = {
    "lenet.LeNet5": (61_706, 0.42, None),
    "alexnet.AlexNet": (46_764_746, 938, None),
    "vgg.vgg11": (128_806_154, 7_547, 132_863_336),
    "vgg.vgg13": (128_990_666, 11_247, 133_047_848),
    "vgg.vgg16": (134_300_362, 15_408, 138_357_544),
    "vgg.vgg19": (139_610_058, 19_570, 143_667_240),
    "nin.NiN": (1_992_166, 762, None),
    "googlenet.GoogLeNet": (10_327_758, 1_503, 13_378_280),
    "resnet.resnet18": (11_175_370, 1_735, 11_689_512),
    "resnet.resnet34": (21_283_530, 3_585, 21_797_672),
    "resnet.resnet50": (23_522_250, 4_008, 25_557_032),
    "resnet.resnet101": (42_514_378, 7_721, 44_549_160),
    "resnet.resnet152": (58_158_026, 11_433, 60_192_808),
    "densenet.DenseNet": (1_630_986, 1_359, None),
    "densenet.densenet121": (6_957_834, 2_754, 7_978_856),
    "densenet.densenet169": (12_494_858, 3_280, 14_149_480),
    "densenet.densenet201": (18_105_866, 4_211, 20_013_928),
}
SAME_AS = {"vgg.VGG": "vgg.vgg11", "resnet.ResNet": "resnet.resnet18"}
# The layers of a smaller network, repeated: only their counts and initialization are tested here,
# and test_torchvision.py compares their outputs and gradients.
DEEPER = {
    *("vgg.vgg13", "vgg.vgg16", "vgg.vgg19", "resnet.resnet34", "resnet.resnet101"),
    *("resnet.resnet152", "densenet.densenet169", "densenet.densenet201"),
}


def size_of(name):
    return SIZES.get(name, 224)


@pytest.fixture(params=NETWORKS)
def name(request):
    return request.param


@pytest.fixture(params=[name for name in NETWORKS if name not in SAME_AS])
def distinct(request):
    """The name of a network, without the default variants."""
    return request.param


@pytest.fixture(params=[name for name in NETWORKS if name not in SAME_AS.keys() | DEEPER])
def kind(request):
    """The name of a network with layers that no smaller one has."""
    return request.param


def on_meta(name, **options):
    with torch.device("meta"):
        return NETWORKS[name](**options)


def test_counts_equal_those_of_the_papers(name):
    if SAME_AS.get(name, name) not in COUNTS:
        pytest.skip("COUNTS has no figures of this network")
    parameters, mmacs, parameters_of_imagenet = COUNTS[SAME_AS.get(name, name)]
    net = on_meta(name)
    assert count_parameters(net) == parameters
    macs = count_macs(net, channels=1, image_size=size_of(name)) / 1e6
    assert round(macs, 2 if macs < 1 else 0) == mmacs
    if parameters_of_imagenet:
        assert (
            count_parameters(on_meta(name, in_channels=3, num_classes=1000))
            == parameters_of_imagenet
        )


def test_googlenet_without_its_heads():
    assert count_parameters(on_meta("googlenet.GoogLeNet", aux_logits=False)) == 5_977_530
    imagenet = on_meta("googlenet.GoogLeNet", aux_logits=False, in_channels=3, num_classes=1000)
    assert count_parameters(imagenet) == 6_998_552


def test_maps_images_to_logits(name):
    net = on_meta(name, in_channels=3, num_classes=7).eval()
    size = size_of(name)
    assert net(torch.empty(4, 3, size, size, device="meta")).shape == (4, 7)


@pytest.mark.parametrize("size", [96, 64, 32, 20])
def test_smaller_images_are_accepted_or_refused_in_one_line(kind, size):
    smallest = SMALLEST.get(kind.split(".")[0])
    net = on_meta(kind)
    if smallest is None or (size >= smallest and kind != "lenet.LeNet5"):
        check_image_size(net, channels=1, image_size=size)
    else:
        with pytest.raises(UserError, match=f"but {smallest} x {smallest}"):
            check_image_size(net, channels=1, image_size=size)


def test_signature_and_docstring_are_complete(name):
    network = NETWORKS[name]
    parameters = inspect.signature(network).parameters
    assert parameters["in_channels"].default == 1
    assert parameters["num_classes"].default == 10
    assert all(p.annotation is not inspect.Parameter.empty for p in parameters.values())
    source = inspect.getmodule(network).__doc__
    assert "https://" in source
    assert "Departures from the paper" in source
    if inspect.isclass(network):
        assert "Shapes:" in network.__doc__
        assert all(f"{p}:" in network.__doc__ for p in parameters)


def small(name, **options):
    """A network and images, small for speed but large enough for every layer."""
    size = SIZES.get(name, 96 if SMALLEST.get(name.split(".")[0], 0) > 32 else 32)
    torch.manual_seed(0)
    return NETWORKS[name](**options), torch.randn(4, 1, size, size)


def logits_of(output):
    """The logits of the network and of its auxiliary heads."""
    return [output] if isinstance(output, torch.Tensor) else list(output)


@pytest.mark.slow
def test_initial_loss_is_sane_and_every_parameter_gets_a_gradient(distinct):
    """Cross-entropy of ten classes at chance is 2.30; plain DDP needs all gradients."""
    net, images = small(distinct)
    labels = torch.arange(len(images))
    logits = logits_of(net.train()(images))
    losses = [nn.functional.cross_entropy(head, labels) for head in logits]
    for head, loss in zip(logits, losses, strict=True):
        assert torch.isfinite(head).all()
        assert head.std() > 0
        assert 2.0 < loss < 3.0, "the last layer is initialized too large or too small"
    sum(losses).backward()
    for parameter, value in net.named_parameters():
        assert value.grad is not None, parameter
        assert torch.isfinite(value.grad).all(), parameter


@pytest.mark.slow
def test_compiles_to_one_graph(kind):
    net, images = small(kind)
    torch._dynamo.reset()
    compiled = torch.compile(net.train(), fullgraph=True, backend="eager")
    torch.manual_seed(1)
    expected = net(images)
    torch.manual_seed(1)
    torch.testing.assert_close(compiled(images), expected)


@pytest.mark.slow
def test_exports_for_any_batch_size(kind):
    net, images = small(kind)
    net.eval()
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(net, (images,), dynamic_shapes=({0: batch},))
    torch.testing.assert_close(program.module()(images[:3]), net(images[:3]))


@pytest.mark.slow
def test_runs_channels_last_and_under_bf16(kind):
    net, images = small(kind)
    net.eval()
    with torch.no_grad():
        expected = net(images)
        net.to(memory_format=torch.channels_last)
        last = net(images.to(memory_format=torch.channels_last))
    # With untrained norms, the logits of a deep network are large.
    torch.testing.assert_close(last / expected.abs().max(), expected / expected.abs().max())
    net.train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        heads = logits_of(net(images))
    for head in heads:
        assert head.dtype == torch.bfloat16
        assert torch.isfinite(head).all()
    sum(head.float().logsumexp(1).sum() for head in heads).backward()
    assert all(torch.isfinite(p.grad).all() for p in net.parameters())
