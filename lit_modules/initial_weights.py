"""Loads weights that exist into a network, whole or to start from."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

FIRST = 3  # differences that are named


class Start(NamedTuple):
    """What a network has taken over.

    Attributes:
        fitting: Number of the file's tensors that fit.
        tensors: Number of its tensors.
        anew: Names of the parameters that start anew: the last layer has another size, or is not
            in the file.
    """

    fitting: int
    tensors: int
    anew: list[str]


def start_from(net: nn.Module, weights: dict[str, Tensor], num_classes: int) -> Start:
    """Loads weights into a network.

    A layer that gives `num_classes` values, and had another number of them, starts anew; so does
    the last one if the file ends before it. Where the first convolution took colour and this one
    takes gray, its kernels are summed over the channels: it gives for a gray image what it gave for
    that image in three equal channels. The other way they are repeated, and divided by the number
    of channels.

    Args:
        net: The network.
        weights: The tensors by their names in it.
        num_classes: Its number of classes.

    Raises:
        ValueError: If they do not fit, with the first differences; the network is as before.
    """
    own = net.state_dict()
    layers = {n: m for n, m in net.named_modules() if list(m.parameters(recurse=False))}
    last = next(reversed(layers), None)
    heads = {
        f"{name}.{of}"
        for name, module in layers.items()
        if isinstance(module, nn.Linear | nn.Conv2d) and module.weight.shape[0] == num_classes
        for of, _ in module.named_parameters()
    }
    first = next((n for n, m in layers.items() if isinstance(m, nn.Conv2d)), None)
    fitted, anew, differences = {}, [], []
    for name in own | weights:
        mine, theirs = own.get(name), weights.get(name)
        if name == f"{first}.weight" and theirs is not None and theirs.ndim == 4:
            theirs = _with_channels(theirs, mine.shape[1])
        difference = _difference(name, mine, theirs)
        is_last = name.rpartition(".")[0] == last
        if not difference:
            fitted |= {} if theirs is None else {name: theirs}
        elif name in heads and (is_last if theirs is None else theirs.shape[1:] == mine.shape[1:]):
            anew.append(name)
        else:
            differences.append(difference)
    if not fitted and not differences:
        differences = ["no tensor has its size"]
    _refuse(net, differences)
    net.load_state_dict(fitted, strict=False)
    return Start(len(fitted), len(weights), anew)


def load_whole(net: nn.Module, weights: dict[str, Tensor]) -> None:
    """Loads weights that have to be those of a network, all of them.

    Raises:
        ValueError: If they are not, with the first differences; the network is as before.
    """
    own = net.state_dict()
    found = (_difference(name, own.get(name), weights.get(name)) for name in own | weights)
    _refuse(net, [difference for difference in found if difference])
    net.load_state_dict(weights, strict=False)


def _difference(name: str, mine: Tensor | None, theirs: Tensor | None) -> str:
    """How a tensor of a file differs from the network's of that name; empty if it does not."""
    if mine is None:
        return f"{name} is too much"
    if theirs is None:  # torch counts batches since 2018
        return "" if name.endswith("num_batches_tracked") else f"{name} is missing"
    same = theirs.shape == mine.shape
    return "" if same else f"{name} is {tuple(theirs.shape)}, not {tuple(mine.shape)}"


def _refuse(net: nn.Module, differences: list[str]) -> None:
    if differences:
        more = len(differences) - FIRST
        raise ValueError(
            f"these weights are not of a {type(net).__name__} as this one: "
            f"{'; '.join(differences[:FIRST])}{f'; and {more} more' if more > 0 else ''}"
        )


def _with_channels(kernels: Tensor, channels: int) -> Tensor:
    """Kernels (out, in, H, W) for another number of input channels, of equal content."""
    if kernels.shape[1] == 3 and channels == 1:
        return kernels.sum(1, keepdim=True)
    if kernels.shape[1] == 1 and channels == 3:
        return torch.cat([kernels / 3] * 3, 1)
    return kernels
