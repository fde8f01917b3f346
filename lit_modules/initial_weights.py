"""Loads existing weights into a network, for inference or as initial weights."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from lit_modules.checkpoints import without_prefixes

FIRST = 3  # number of differences that an error names


class Start(NamedTuple):
    """Which weights a network has loaded.

    Attributes:
        fitting: Number of tensors in the file that fit.
        tensors: Number of tensors in the file.
        new: Names of the parameters that keep their random initialization: the last layer has
            another size, or is not in the file.
    """

    fitting: int
    tensors: int
    new: list[str]


def start_from(net: nn.Module, weights: dict[str, Tensor], num_classes: int) -> Start:
    """Loads initial weights into a network.

    A layer of `num_classes` outputs that has another number of outputs in the file keeps its random
    initialization; so does the last layer if it is missing in the file. If the first convolution
    changes from colour to gray, its kernels are summed over the channels: the output for a gray
    image equals the output for the same image in three equal channels. From gray to colour they are
    repeated and divided by the number of channels.

    Args:
        net: The network.
        weights: The tensors by parameter name.
        num_classes: Its number of classes.

    Raises:
        ValueError: If they do not fit; names the first differences. The network is unchanged.
    """
    own = net.state_dict()
    weights = without_prefixes(weights, own.keys())
    layers = {n: m for n, m in net.named_modules() if list(m.parameters(recurse=False))}
    last = next(reversed(layers), None)
    heads = {
        f"{name}.{of}"
        for name, module in layers.items()
        if isinstance(module, nn.Linear | nn.Conv2d) and module.weight.shape[0] == num_classes
        for of, _ in module.named_parameters()
    }
    first = next((n for n, m in layers.items() if isinstance(m, nn.Conv2d)), None)
    fitted, new, differences = {}, [], []
    for name in own | weights:
        mine, theirs = own.get(name), weights.get(name)
        if name == f"{first}.weight" and theirs is not None and theirs.ndim == 4:
            theirs = _with_channels(theirs, mine.shape[1])
        difference = _difference(name, mine, theirs)
        is_last = name.rpartition(".")[0] == last
        if not difference:
            fitted |= {} if theirs is None else {name: theirs}
        elif name in heads and (is_last if theirs is None else theirs.shape[1:] == mine.shape[1:]):
            new.append(name)
        else:
            differences.append(difference)
    if not fitted and not differences:
        differences = ["no tensor has the right size"]
    _refuse(net, differences)
    net.load_state_dict(fitted, strict=False)
    return Start(len(fitted), len(weights), new)


def load_whole(net: nn.Module, weights: dict[str, Tensor]) -> None:
    """Loads all weights of a network; names and shapes must match.

    Raises:
        ValueError: If they do not; names the first differences. The network is unchanged.
    """
    own = net.state_dict()
    weights = without_prefixes(weights, own.keys())
    found = (_difference(name, own.get(name), weights.get(name)) for name in own | weights)
    _refuse(net, [difference for difference in found if difference])
    net.load_state_dict(weights, strict=False)


def _difference(name: str, mine: Tensor | None, theirs: Tensor | None) -> str:
    """How a tensor of the file differs from the network's; empty if it fits."""
    if mine is None:
        return f"{name} is not in the network"
    if theirs is None:  # older versions of torch did not count batches
        return "" if name.endswith("num_batches_tracked") else f"{name} is missing"
    same = theirs.shape == mine.shape
    return "" if same else f"{name} is {tuple(theirs.shape)}, not {tuple(mine.shape)}"


def _refuse(net: nn.Module, differences: list[str]) -> None:
    if differences:
        more = len(differences) - FIRST
        raise ValueError(
            f"these weights do not fit this {type(net).__name__}: "
            f"{'; '.join(differences[:FIRST])}{f'; and {more} more' if more > 0 else ''}"
        )


def _with_channels(kernels: Tensor, channels: int) -> Tensor:
    """Converts kernels (out, in, H, W) between one and three input channels."""
    if kernels.shape[1] == 3 and channels == 1:
        return kernels.sum(1, keepdim=True)
    if kernels.shape[1] == 1 and channels == 3:
        return torch.cat([kernels / 3] * 3, 1)
    return kernels
