"""Freezes all parameters of a network except those to train."""

from collections.abc import Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase

from torch import nn
from torch.nn.modules.batchnorm import _NormBase


def freeze_all_but(net: nn.Module, patterns: Sequence[str]) -> None:
    """Freezes the parameters whose names match none of the patterns.

    Args:
        net: The network.
        patterns: Shell-style patterns of parameter names: `fc.*`, `layer4.*`.

    Raises:
        ValueError: If a pattern matches no name.
    """
    names = [name for name, _ in net.named_parameters()]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            parts = list(dict.fromkeys(f"{name.partition('.')[0]}.*" for name in names))
            nearest = get_close_matches(pattern, [*parts, *names]) or parts
            raise ValueError(
                f"trainable {pattern} matches no parameter of {type(net).__name__}, which has "
                f"{', '.join(nearest)}"
            )
    for name, parameter in net.named_parameters():
        parameter.requires_grad_(any(fnmatchcase(name, pattern) for pattern in patterns))


def keep_statistics_of_frozen(net: nn.Module) -> None:
    """Puts frozen norm layers in eval mode, so that their running statistics stay."""
    for name, module in net.named_modules():
        if not isinstance(module, _NormBase):
            continue
        part = module
        while name and not list(part.parameters()):  # it belongs to what is around it
            name = name.rpartition(".")[0]
            part = net.get_submodule(name)
        if not any(p.requires_grad for p in part.parameters()):
            module.eval()
