"""VGG.

"Very Deep Convolutional Networks for Large-Scale Image Recognition", Karen Simonyan and Andrew
Zisserman, 2014. https://arxiv.org/abs/1409.1556

Departures from the paper:

- Batch normalisation, which came a year later, is an option, off by default as in the paper.
- An adaptive average pool before the classifier, as in torchvision. At 224 x 224 it changes
  nothing; it allows other sizes.
- Kaiming-normal initialization; the paper initializes deep networks from a trained VGG-11.

The parameters have torchvision's names.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from models.initialization import init_weights


def vgg_block(in_channels: int, channels: int, convs: int, batch_norm: bool) -> list[nn.Module]:
    """Layers of a block: 3 x 3 convolutions with ReLU, then a max pool that halves the sides."""
    layers: list[nn.Module] = []
    for i in range(convs):
        layers.append(nn.Conv2d(channels if i else in_channels, channels, kernel_size=3, padding=1))
        if batch_norm:
            layers.append(nn.BatchNorm2d(channels))
        layers.append(nn.ReLU(inplace=True))
    return [*layers, nn.MaxPool2d(kernel_size=2, stride=2)]


class VGG(nn.Module):
    """VGG: five blocks of 3 x 3 convolutions and three linear layers.

    Args:
        convs: Convolutions of each block, a column of the paper's Table 1; VGG-11 by default.
        batch_norm: Whether batch normalisation follows each convolution.
        dropout: Probability that a unit of the two hidden linear layers is dropped.
        in_channels: Channels of the images.
        num_classes: Number of logits.

    Shapes:
        images (N, in_channels, H, W), H and W at least 32 -> logits (N, num_classes)
    """

    def __init__(
        self,
        convs: Sequence[int] = (1, 1, 2, 2, 2),
        batch_norm: bool = False,
        dropout: float = 0.5,
        in_channels: int = 1,
        num_classes: int = 10,
    ) -> None:
        super().__init__()
        widths = (64, 128, 256, 512, 512)
        layers: list[nn.Module] = []
        for before, width, count in zip((in_channels, *widths), widths, convs, strict=False):
            layers += vgg_block(before, width, count, batch_norm)
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(7)
        self.classifier = nn.Sequential(
            nn.Linear(512 * 7 * 7, 4096),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(4096, 4096),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(4096, num_classes),
        )
        self.apply(init_weights)

    def forward(self, images: Tensor) -> Tensor:
        x = self.features(images)  # (N, 512, H/32, W/32)
        x = self.avgpool(x)  # (N, 512, 7, 7)
        return self.classifier(x.flatten(1))  # (N, num_classes)


def vgg11(
    batch_norm: bool = False, dropout: float = 0.5, in_channels: int = 1, num_classes: int = 10
) -> VGG:
    """VGG-11, the paper's configuration A."""
    return VGG((1, 1, 2, 2, 2), batch_norm, dropout, in_channels, num_classes)


def vgg13(
    batch_norm: bool = False, dropout: float = 0.5, in_channels: int = 1, num_classes: int = 10
) -> VGG:
    """VGG-13, the paper's configuration B."""
    return VGG((2, 2, 2, 2, 2), batch_norm, dropout, in_channels, num_classes)


def vgg16(
    batch_norm: bool = False, dropout: float = 0.5, in_channels: int = 1, num_classes: int = 10
) -> VGG:
    """VGG-16, the paper's configuration D."""
    return VGG((2, 2, 3, 3, 3), batch_norm, dropout, in_channels, num_classes)


def vgg19(
    batch_norm: bool = False, dropout: float = 0.5, in_channels: int = 1, num_classes: int = 10
) -> VGG:
    """VGG-19, the paper's configuration E."""
    return VGG((2, 2, 4, 4, 4), batch_norm, dropout, in_channels, num_classes)
