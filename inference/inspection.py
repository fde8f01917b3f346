"""Counts parameters and MACs, and checks that a network fits the images."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from datamodules import InMemoryDataModule
from lit_modules import LitClassifier
from terminal.errors import UserError

LARGEST_PROBED = 256  # pixels


def count_parameters(net: nn.Module) -> int:
    """Number of the network's parameters, trained or frozen."""
    return sum(p.numel() for p in net.parameters())


def count_trained(net: nn.Module) -> int:
    """Number of the network's trainable parameters."""
    return sum(p.numel() for p in net.parameters() if p.requires_grad)


def count_macs(net: nn.Module, channels: int, image_size: int) -> int:
    """Multiply-accumulates of convolutions and linear layers for one image, forward."""

    def macs(net: nn.Module, image: Tensor) -> int:
        with FlopCounterMode(display=False) as counter, _without_fused_kernels(), torch.no_grad():
            net.float().eval()(image)
        return counter.get_total_flops() // 2

    return _Trial(net, macs)(1, channels, image_size, image_size)


@contextmanager
def _without_fused_kernels() -> Iterator[None]:
    """Attention and recurrent layers on the CPU are made of matrix products, which are counted."""
    mha, mkldnn = torch.backends.mha, torch.backends.mkldnn
    before = mha.get_fastpath_enabled(), mkldnn.enabled
    mha.set_fastpath_enabled(False)
    mkldnn.enabled = False
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        mha.set_fastpath_enabled(before[0])
        mkldnn.enabled = before[1]


def check_outputs(module: LitClassifier, data: InMemoryDataModule) -> Any:
    """Checks that a network accepts these images and has their number of classes.

    Returns:
        Its output for two images in training mode, on the meta device or on the CPU.

    Raises:
        UserError: If not; names the setting to change.
    """
    check_image_size(module.net, data.channels, data.image_size)
    name = type(module.net).__name__
    trial = _Trial(module.net, _train_mode)
    output = trial(2, data.channels, data.image_size, data.image_size)
    logits = output[0] if isinstance(output, tuple) and output else output
    if not isinstance(logits, Tensor):
        raise UserError(f"{name} returns a {type(logits).__name__}, not logits.")
    if logits.shape != (2, len(data.classes)):
        raise UserError(
            f"{name} returns {tuple(logits.shape[1:])} values per image, but {data.name} has "
            f"{len(data.classes)} classes. See the network's num_classes."
        )
    if module.num_classes != len(data.classes):
        raise UserError(
            f"model.num_classes is {module.num_classes}, but {data.name} has {len(data.classes)} "
            "classes."
        )
    return output


def check_image_size(net: nn.Module, channels: int, image_size: int) -> None:
    """Checks the image size by a forward pass of two images.

    Raises:
        UserError: If the network does not accept them; names the smallest size that it accepts.
    """
    trial = _Trial(net, _train_mode)
    problem = _refusal(trial, channels, image_size)
    if not problem:
        return
    name = type(net).__name__
    sizes = range(1, LARGEST_PROBED)
    smallest = next((size for size in sizes if not _refusal(trial, channels, size)), None)
    if smallest is None:
        raise UserError(
            f"{name} does not accept images of {channels} channels: {problem}. "
            "See data.channels and the network's in_channels."
        )
    raise UserError(
        f"{name} does not accept {image_size} x {image_size} images, but {smallest} x {smallest}"
        f"{' and more' if image_size < smallest else ''}. Set --data.image_size {smallest}"
        + (" or more." if image_size < smallest else ".")
    )


class _Trial:
    """Calls `use` on a copy of the network and on images: on meta tensors, if possible.

    Where that fails, it is tried with real numbers: forward may read values, as in
    `if images.mean() > 0.5`. Errors are of this second attempt.
    """

    def __init__(self, net: nn.Module, use: Callable[[nn.Module, Tensor], Any]) -> None:
        self.net, self.use = net, use
        self.copies: dict[str, nn.Module] = {}

    def __call__(self, *shape: int) -> Any:
        with torch.random.fork_rng(devices=[]):  # dropout would change torch's random state
            with suppress(Exception):
                return self.use(self._copy("meta"), torch.empty(shape, device="meta"))
            images = torch.randn(shape, generator=torch.Generator().manual_seed(0))
            return self.use(self._copy("cpu"), images)

    def _copy(self, device: str) -> nn.Module:
        if device not in self.copies:
            self.copies[device] = copy.deepcopy(self.net).to(device)
        return self.copies[device]


def _train_mode(net: nn.Module, images: Tensor) -> Any:
    return net.train()(images)


def _refusal(trial: _Trial, channels: int, image_size: int) -> str:
    """The network's error for such images; empty if it accepts them."""
    try:
        trial(2, channels, image_size, image_size)
    except (RuntimeError, ValueError) as error:
        return str(error)
    return ""
