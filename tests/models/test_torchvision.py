"""The networks, compared with torchvision's under the same parameter names."""

import pytest
import torch
import torchvision
from torch import nn

from models import densenet, resnet, vgg

PAIRS = {
    **{f"vgg{n}": (getattr(vgg, f"vgg{n}"), {}) for n in (11, 13, 16, 19)},
    **{f"vgg{n}_bn": (getattr(vgg, f"vgg{n}"), {"batch_norm": True}) for n in (11, 13, 16, 19)},
    **{f"resnet{n}": (getattr(resnet, f"resnet{n}"), {}) for n in (18, 34, 50, 101, 152)},
    **{f"densenet{n}": (getattr(densenet, f"densenet{n}"), {}) for n in (121, 169, 201)},
}


def on_meta(make, **options):
    """A network on the meta device: initializing the largest takes longer than the test."""
    with torch.device("meta"):
        net = make(**options)
    for module in net.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return net


def random_weights(net):
    """Random values for a network on the meta device, biases and the gains of norms included."""
    weights = {}
    for name, value in net.state_dict().items():
        values = torch.zeros_like(value, device="cpu")
        if value.dim() > 1:
            values.normal_(std=(2 / value[0].numel()) ** 0.5)
        elif name.endswith(("weight", "running_var")):
            values.uniform_(0.5, 1.5)
        elif name.endswith("bias"):
            values.normal_(std=0.1)
        weights[name] = values
    return weights


@pytest.mark.slow
@pytest.mark.parametrize("name", PAIRS)
def test_same_outputs_and_gradients_as_torchvision(name):
    """In eval and in train mode, with all of torchvision's weights, at 1000 ImageNet classes."""
    torch.manual_seed(0)
    reference = on_meta(getattr(torchvision.models, name))
    variant, options = PAIRS[name]
    net = on_meta(variant, in_channels=3, num_classes=1000, **options)
    weights = random_weights(reference)
    reference.load_state_dict(weights, strict=True, assign=True)
    own = {key: value.clone() if value.dim() < 2 else value for key, value in weights.items()}
    net.load_state_dict(own, strict=True, assign=True)  # large tensors are shared, and not changed
    images = torch.randn(2, 3, 64, 64)
    for mode in (True, False):  # training first, to give the norms statistics
        ours, theirs = net.train(mode)(images), reference.train(mode)(images)
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    ours.square().mean().backward()
    theirs.square().mean().backward()
    gradients = {key: value.grad for key, value in reference.named_parameters()}
    for key, value in net.named_parameters():
        assert (value.grad - gradients[key]).abs().max() <= 1e-5, key  # assert_close is slow


def test_without_its_top_a_resnet_returns_the_map_before_pooling():
    torch.manual_seed(0)
    reference = torchvision.models.resnet50().eval()
    backbone = resnet.resnet50(include_top=False, in_channels=3).eval()
    weights = {k: v for k, v in reference.state_dict().items() if not k.startswith("fc.")}
    backbone.load_state_dict(weights, strict=True)
    maps = {}
    reference.layer4.register_forward_hook(lambda *args: maps.update(layer4=args[-1]))
    images = torch.randn(1, 3, 96, 96)
    with torch.no_grad():
        reference(images)
        ours = backbone(images)
    assert ours.shape == (1, 2048, 3, 3)
    scale = maps["layer4"].abs().max()
    torch.testing.assert_close(ours / scale, maps["layer4"] / scale, rtol=1e-5, atol=1e-5)
