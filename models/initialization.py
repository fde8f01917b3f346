"""The shared initialization of the networks with ReLU."""

from typing import Literal

from torch import nn


def init_weights(module: nn.Module, mode: Literal["fan_out", "fan_in"] = "fan_out") -> None:
    """Initializes a layer; for `nn.Module.apply`.

    Convolutions: Kaiming-normal (He et al. 2015, https://arxiv.org/abs/1502.01852).
    Linear layers: normal with standard deviation 0.01. Biases: zero. Norms: the identity.

    Args:
        module: Any layer.
        mode: Whether a convolution keeps the scale of gradients (fan_out) or activations (fan_in).
    """
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode=mode, nonlinearity="relu")
    elif isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.01)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.ones_(module.weight)
    if isinstance(module, nn.Conv2d | nn.Linear | nn.BatchNorm2d) and module.bias is not None:
        nn.init.zeros_(module.bias)
