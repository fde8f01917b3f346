"""LeNet-5.

"Gradient-Based Learning Applied to Document Recognition", Yann LeCun, Léon Bottou, Yoshua Bengio
and Patrick Haffner, Proceedings of the IEEE 86(11), 1998. https://doi.org/10.1109/5.726791

Departures from the paper, all common practice today:

- Subsampling (S2, S4) is a plain average; the paper's has a trainable gain and bias and a sigmoid.
- Every map of C3 uses all six maps of S2; the paper's Table I leaves some connections out to save
  work and to break symmetry, which random initialisation does too.
- The output is a linear layer trained with cross-entropy, not Euclidean radial basis functions.
- The activation is a plain sigmoid (or tanh, or ReLU), not 1.7159 tanh(2x/3).
- Xavier-uniform initialization of weights; zero biases.
"""

from typing import Literal

from torch import Tensor, nn

ACTIVATIONS = {"sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "relu": nn.ReLU}


class LeNet5(nn.Module):
    """LeNet-5: three convolutions and two linear layers, 61,706 parameters.

    Args:
        activation: The nonlinearity after C1, C3, C5 and F6. The default, sigmoid, stays
            near chance for about the first 80 steps; tanh and relu learn at once.
        in_channels: Channels of the images.
        num_classes: Number of logits.

    Shapes:
        images (N, in_channels, 28, 28) -> logits (N, num_classes)
    """

    def __init__(
        self,
        activation: Literal["sigmoid", "tanh", "relu"] = "sigmoid",
        in_channels: int = 1,
        num_classes: int = 10,
    ) -> None:
        super().__init__()
        self.c1 = nn.Conv2d(
            in_channels, 6, kernel_size=5, padding=2
        )  # 28 x 28 -> the paper's 32 x 32
        self.c3 = nn.Conv2d(6, 16, kernel_size=5)
        self.c5 = nn.Conv2d(16, 120, kernel_size=5)
        self.f6 = nn.Linear(120, 84)
        self.output = nn.Linear(84, num_classes)
        self.subsample = nn.AvgPool2d(kernel_size=2)  # S2 and S4
        self.activation = ACTIVATIONS[activation]()
        self.apply(init_weights)

    def forward(self, images: Tensor) -> Tensor:
        x = self.activation(self.c1(images))  # (N, 6, 28, 28)
        x = self.subsample(x)  # (N, 6, 14, 14)
        x = self.activation(self.c3(x))  # (N, 16, 10, 10)
        x = self.subsample(x)  # (N, 16, 5, 5)
        x = self.activation(self.c5(x))  # (N, 120, 1, 1)
        x = self.activation(self.f6(x.flatten(1)))  # (N, 84)
        return self.output(x)  # (N, num_classes)


def init_weights(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)
