"""What a network costs, and whether it takes the images it is going to get."""

import copy

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from training.errors import UserError

LARGEST_PROBED = 256  # pixels


def count_parameters(net: nn.Module) -> int:
    """Number of trainable values."""
    return sum(p.numel() for p in net.parameters() if p.requires_grad)


def count_macs(net: nn.Module, channels: int, image_size: int) -> int:
    """Multiply-accumulates of convolutions and linear layers for one image, forward."""
    net = copy.deepcopy(net).to("meta").eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(torch.empty(1, channels, image_size, image_size, device="meta"))
    return counter.get_total_flops() // 2


def check_image_size(net: nn.Module, channels: int, image_size: int) -> None:
    """Sends two images without content through the network, which costs no arithmetic.

    Raises:
        UserError: If the network does not take them; names the smallest size that it takes.
    """
    net = copy.deepcopy(net).to("meta").train()

    def takes(size: int) -> str:
        """Empty, or what the network says against it."""
        try:
            net(torch.empty(2, channels, size, size, device="meta"))
        except (RuntimeError, ValueError) as error:
            return str(error)
        return ""

    problem = takes(image_size)
    if not problem:
        return
    name = type(net).__name__
    smallest = next((size for size in range(1, LARGEST_PROBED) if not takes(size)), None)
    if smallest is None:
        raise UserError(
            f"{name} does not take images of {channels} channels: {problem}. "
            "See data.channels and the network's in_channels."
        )
    raise UserError(
        f"{name} cannot take images of {image_size} x {image_size}: the smallest it can is "
        f"{smallest} x {smallest}. Set --data.image_size {smallest}"
        + (" or more." if image_size < smallest else ".")
    )
