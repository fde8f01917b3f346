"""The products of small maps against torch's convolutions, and where they are taken."""

import copy
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer
from torch import nn
from torch.nn import functional as F

from lit_modules import LitClassifier, small_maps
from lit_modules.small_maps import SmallMaps, has_amx
from models.resnet import resnet18

# Channels, outputs, height, width, kernel, stride, padding.
SHAPES = [
    (5, 7, 2, 2, (3, 3), (1, 1), (1, 1)),
    (5, 7, 1, 1, (3, 3), (1, 1), (1, 1)),
    (5, 7, 4, 4, (3, 3), (2, 2), (1, 1)),
    (5, 7, 3, 3, (1, 1), (1, 1), (0, 0)),
    (5, 7, 4, 4, (1, 1), (2, 2), (0, 0)),
    (5, 7, 6, 4, (5, 3), (3, 2), (2, 0)),
    (5, 7, 5, 6, (2, 3), (2, 1), (0, 1)),
]


@pytest.fixture
def products(monkeypatch):
    """The shapes of the images whose convolutions are products, on any processor."""
    monkeypatch.setattr(small_maps, "has_amx", lambda: True)
    taken, apply_product = [], small_maps._Product.apply

    def apply(image, *args):
        taken.append(tuple(image.shape))
        return apply_product(image, *args)

    monkeypatch.setattr(small_maps._Product, "apply", apply)
    return taken


def product(image, weight, stride, padding):
    """The output of `_Product` as the convolution's, (N, O, height, width)."""
    columns = small_maps._Product.apply(image, weight, stride, padding)
    size = small_maps._size(image, weight, stride, padding)
    return columns.view(len(image), *size, len(weight)).permute(0, 3, 1, 2)


@pytest.mark.parametrize(("c", "o", "h", "w", "kernel", "stride", "padding"), SHAPES)
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_output_and_gradients_are_those_of_the_convolution(
    c, o, h, w, kernel, stride, padding, memory_format
):
    torch.manual_seed(0)
    image = torch.randn(3, c, h, w, dtype=torch.float64).to(memory_format=memory_format)
    weight = torch.randn(o, c, *kernel, dtype=torch.float64).to(memory_format=memory_format)
    pairs = []
    for function in (lambda i, k: F.conv2d(i, k, None, stride, padding), product):
        leaves = image.clone().requires_grad_(), weight.clone().requires_grad_()
        output = function(*leaves) if function is not product else product(*leaves, stride, padding)
        upstream = torch.linspace(-1, 1, output.numel(), dtype=output.dtype).view_as(output)
        pairs.append([output, *torch.autograd.grad(output, leaves, upstream)])
    for expected, ours in zip(*pairs, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-12)


def test_gradients_of_gradients_and_of_single_images():
    torch.manual_seed(0)
    image = torch.randn(2, 2, 2, 3, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(3, 2, 2, 3, dtype=torch.float64, requires_grad=True)

    def ours(image, weight):
        return product(image, weight, (1, 2), (1, 1))

    def theirs(image, weight):
        return F.conv2d(image, weight, None, (1, 2), (1, 1))

    assert torch.autograd.gradcheck(ours, (image, weight))
    assert torch.autograd.gradgradcheck(ours, (image, weight))
    of_each = [
        torch.func.vmap(
            torch.func.grad(lambda w, i, f=f: f(i[None], w).square().sum()), in_dims=(None, 0)
        )(weight.detach(), image.detach())
        for f in (ours, theirs)
    ]
    torch.testing.assert_close(*of_each)


@pytest.mark.parametrize("size", [2, 4])
def test_rounding_is_that_of_bfloat16(size):
    """The error of a gradient against 64 bits: three roundings of 8 bits at most."""
    torch.manual_seed(0)
    exact = [torch.randn(4, 64, size, size).double(), torch.randn(256, 64, 3, 3).double()]
    rounded = [one.bfloat16().requires_grad_() for one in exact]
    exact = [one.detach().double().requires_grad_() for one in rounded]
    ours = product(*rounded, (1, 1), (1, 1))
    theirs = F.conv2d(*exact, None, (1, 1), (1, 1))
    upstream = torch.randn_like(theirs).bfloat16()
    ours.backward(upstream)
    theirs.backward(upstream.double())
    for a, b in ((ours, theirs), *((r.grad, e.grad) for r, e in zip(rounded, exact, strict=True))):
        assert (a.double() - b).norm() < 0.003 * b.norm()


def test_only_the_gradients_that_are_needed(monkeypatch):
    monkeypatch.setattr(small_maps, "_add_up", None)
    image, weight = torch.randn(2, 3, 2, 2), torch.randn(4, 3, 3, 3, requires_grad=True)
    small_maps._Product.apply(image, weight, (1, 1), (1, 1)).sum().backward()
    assert weight.grad.shape == weight.shape


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="it tells what the processor has")
def test_the_processor_is_asked():
    has = "amx_bf16" in Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    assert has_amx() == has


def test_the_output_may_be_changed_in_place(products):
    convolution = nn.Conv2d(16, 64, 3, padding=1, bias=False).bfloat16()
    image = torch.randn(8, 16, 2, 2).bfloat16()
    with SmallMaps():
        output = convolution(image)
        output += 1
        F.relu(output, inplace=True).sum().backward()
    assert products
    assert convolution.weight.grad.abs().sum() > 0


def test_bias(products):
    convolution = nn.Conv2d(16, 64, 3, padding=1)
    nn.init.normal_(convolution.bias)
    image = torch.randn(8, 16, 2, 2)
    with torch.autocast("cpu", torch.bfloat16), SmallMaps():
        output = convolution(image)
    assert products == [(8, 16, 2, 2)]
    assert output.dtype == torch.bfloat16
    torch.testing.assert_close(output.float(), convolution(image), rtol=0.02, atol=0.02)


@pytest.mark.parametrize(
    ("convolution", "size", "dtype"),
    [
        (nn.Conv2d(8, 60, 3, padding=1), 4, torch.bfloat16),
        (nn.Conv2d(8, 59, 3, padding=1), 2, torch.bfloat16),
        (nn.Conv2d(8, 64, 3, padding=1, groups=2), 2, torch.bfloat16),
        (nn.Conv2d(8, 64, 3, padding=2, dilation=2), 2, torch.bfloat16),
        (nn.Conv2d(8, 64, 3, padding="same"), 2, torch.bfloat16),
        (nn.Conv2d(8, 64, 3, padding=1), 2, torch.float16),
        (nn.Conv2d(8, 64, 3, padding=1), 2, None),
    ],
)
def test_what_stays_a_convolution(products, convolution, size, dtype):
    image = torch.randn(2, 8, size, size)
    with torch.autocast("cpu", dtype, enabled=dtype is not None):
        expected = convolution(image)
        with SmallMaps():
            assert torch.equal(convolution(image), expected)
    assert not products


@pytest.mark.parametrize(
    "arguments",
    [(None, 1, 1, 1, 1), (None, (1,), (1,), (1,), 1), (None, [1, 1], [1, 1], [1, 1], 1)],
)
def test_other_forms_of_the_arguments_are_left_to_torch(products, arguments):
    image, weight = torch.randn(2, 8, 2, 2).bfloat16(), torch.randn(64, 8, 3, 3).bfloat16()
    expected = F.conv2d(image, weight, None, 1, 1)
    with SmallMaps():
        assert torch.equal(F.conv2d(image, weight, *arguments), expected)
    assert not products


def test_other_types_devices_and_empty_batches_are_left_to_torch(products):
    convolution = nn.Conv2d(8, 64, 3, padding=1)
    image = torch.randn(2, 8, 2, 2)
    with SmallMaps():
        with torch.autocast("cpu", torch.bfloat16):
            assert copy.deepcopy(convolution).double()(image.double()).dtype == torch.float64
            assert convolution(image[:0]).shape == (0, 64, 2, 2)
        with pytest.raises(RuntimeError):
            convolution(image.bfloat16())
        meta = copy.deepcopy(convolution).to("meta", torch.bfloat16)
        assert meta(image.to("meta", torch.bfloat16)).device.type == "meta"
    assert not products


@pytest.mark.parametrize(
    ("size", "channels", "message"),
    [(2, 8, "Kernel size can't be greater"), (1, 8, "Kernel size"), (3, 9, "to have 8 channels")],
)
def test_what_torch_refuses_is_refused_by_torch(products, size, channels, message):
    convolution = nn.Conv2d(8, 64, 3).bfloat16()
    with SmallMaps(), pytest.raises(RuntimeError, match=message):
        convolution(torch.randn(2, channels, size, size).bfloat16())
    assert not products


def test_a_single_image_without_a_batch(products):
    convolution = nn.Conv2d(8, 64, 3, padding=1).bfloat16()
    with SmallMaps():
        assert convolution(torch.randn(8, 2, 2).bfloat16()).shape == (64, 2, 2)
    assert not products


def test_not_without_amx(products, monkeypatch):
    monkeypatch.setattr(small_maps, "has_amx", lambda: False)
    convolution = nn.Conv2d(8, 64, 3, padding=1).bfloat16()
    with SmallMaps():
        convolution(torch.randn(2, 8, 2, 2).bfloat16())
    assert not products


class _OneBatch(torch.utils.data.Dataset):
    def __len__(self):
        return 32

    def __getitem__(self, index):
        generator = torch.Generator().manual_seed(index)
        return torch.randn(1, 64, 64, generator=generator), index % 10


def _gradients(precision):
    """Those of ResNet-18 on 64 pixels after the step of a training."""
    torch.manual_seed(0)
    classifier = LitClassifier(
        resnet18(in_channels=1, num_classes=10), lambda p: torch.optim.SGD(p, 0.0)
    )
    trainer = Trainer(
        accelerator="cpu",
        precision=precision,
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(classifier, torch.utils.data.DataLoader(_OneBatch(), batch_size=32))
    return torch.cat([p.grad.flatten() for p in classifier.net.parameters()])


def test_gradients_of_a_training_are_as_near_to_32_bits_as_without(products, monkeypatch):
    exact = _gradients("32-true")
    assert not products
    with_products = _gradients("bf16-mixed")
    # The last two stages, to 4 x 4 and 2 x 2, of four convolutions and a shortcut each.
    assert len(products) == 10
    monkeypatch.setattr(small_maps, "has_amx", lambda: False)
    without = _gradients("bf16-mixed")
    assert len(products) == 10
    error, usual = (with_products - exact).norm(), (without - exact).norm()
    assert error < 1.3 * usual
    assert usual < 0.5 * exact.norm()
