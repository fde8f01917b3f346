"""Network in Network (NiN).

"Network In Network", Min Lin, Qiang Chen and Shuicheng Yan, 2013. https://arxiv.org/abs/1312.4400

Departures from the paper:

- The paper's tables are for images of 32 x 32; this is the version for 224 x 224 that its authors
  published for ImageNet, with the strides of AlexNet.
- Dropout once, before the last block.
- Kaiming-normal initialization; the 1 x 1 convolutions of the last block start as the identity, so
  that no class is dead from the start.
"""

from torch import Tensor, nn

from models.initialization import init_weights


def nin_block(
    in_channels: int, channels: int, kernel_size: int, stride: int = 1, padding: int = 0
) -> nn.Sequential:
    """A convolution, then two 1 x 1 convolutions: a small perceptron at each position."""
    return nn.Sequential(
        nn.Conv2d(in_channels, channels, kernel_size, stride, padding),
        nn.ReLU(inplace=True),
        nn.Conv2d(channels, channels, kernel_size=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(channels, channels, kernel_size=1),
        nn.ReLU(inplace=True),
    )


class NiN(nn.Module):
    """NiN: four blocks, the last with one map for each class, 1,992,166 parameters.

    Args:
        dropout: Probability that a value before the last block is dropped.
        in_channels: Channels of the images.
        num_classes: Number of logits.

    Shapes:
        images (N, in_channels, H, W), H and W at least 67 -> logits (N, num_classes)
    """

    def __init__(self, dropout: float = 0.5, in_channels: int = 1, num_classes: int = 10) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nin_block(in_channels, 96, kernel_size=11, stride=4),
            nn.MaxPool2d(kernel_size=3, stride=2),
            nin_block(96, 256, kernel_size=5, padding=2),
            nn.MaxPool2d(kernel_size=3, stride=2),
            nin_block(256, 384, kernel_size=3, padding=1),
            nn.MaxPool2d(kernel_size=3, stride=2),
            nn.Dropout(dropout),
            nin_block(384, num_classes, kernel_size=3, padding=1),
        )
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.apply(init_weights)
        # Ten channels with a ReLU after each layer: with random initialization, a class easily dies
        # for good. The last block starts as one convolution whose values are mostly positive.
        conv, _, perceptron1, _, perceptron2, _ = self.features[-1]
        nn.init.ones_(conv.bias)
        nn.init.dirac_(perceptron1.weight)
        nn.init.dirac_(perceptron2.weight)

    def forward(self, images: Tensor) -> Tensor:
        x = self.features(images)  # (N, num_classes, 5, 5) at 224 x 224
        return self.avgpool(x).flatten(1)  # (N, num_classes)
