"""The starting weights that the networks with ReLU share."""

from torch import nn


def init_weights(module: nn.Module) -> None:
    """Starts a layer; to be handed to `nn.Module.apply`.

    Convolutions: Kaiming's normal distribution, fan out (He et al. 2015,
    https://arxiv.org/abs/1502.01852). Linear layers: normal with standard deviation 0.01. Biases:
    zero. Norms: the identity.
    """
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    elif isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.01)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.ones_(module.weight)
    if isinstance(module, nn.Conv2d | nn.Linear | nn.BatchNorm2d) and module.bias is not None:
        nn.init.zeros_(module.bias)
