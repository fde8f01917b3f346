"""DenseNet.

"Densely Connected Convolutional Networks", Gao Huang, Zhuang Liu, Laurens van der Maaten and Kilian
Weinberger, 2016. https://arxiv.org/abs/1608.06993

Departures from the paper:

- The plain network, the default, has four blocks of six layers after the paper's ImageNet stem and
  halves the channels in its transitions; the paper's plain network has three blocks for 32 x 32.
- No dropout in the layers: the paper uses it for training without augmentation.
- Kaiming-normal initialization of the convolutions, fan-out.

The parameters of the named variants have torchvision's names.
"""

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from models.initialization import init_weights


class DenseLayer(nn.Module):
    """Adds `growth_rate` channels, computed from all channels so far.

    Shapes:
        (N, C, H, W) -> (N, C + growth_rate, H, W)
    """

    def __init__(self, in_channels: int, growth_rate: int, bottleneck: bool) -> None:
        super().__init__()
        self.relu = nn.ReLU(inplace=True)
        self.norm1 = nn.BatchNorm2d(in_channels)
        self.bottleneck = bottleneck
        if bottleneck:
            self.conv1 = nn.Conv2d(in_channels, 4 * growth_rate, 1, bias=False)
            self.norm2 = nn.BatchNorm2d(4 * growth_rate)
            self.conv2 = nn.Conv2d(4 * growth_rate, growth_rate, 3, padding=1, bias=False)
        else:
            self.conv1 = nn.Conv2d(in_channels, growth_rate, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        new = self.conv1(self.relu(self.norm1(x)))
        if self.bottleneck:
            new = self.conv2(self.relu(self.norm2(new)))
        return torch.cat((x, new), dim=1)


def dense_block(in_channels: int, layers: int, growth_rate: int, bottleneck: bool) -> nn.Sequential:
    """Layers, each of which gets the channels of all layers before it."""
    return nn.Sequential(
        OrderedDict(
            (
                f"denselayer{i + 1}",
                DenseLayer(in_channels + i * growth_rate, growth_rate, bottleneck),
            )
            for i in range(layers)
        )
    )


def transition(in_channels: int) -> nn.Sequential:
    """Halves the channels and the sides between two blocks."""
    return nn.Sequential(
        OrderedDict(
            norm=nn.BatchNorm2d(in_channels),
            relu=nn.ReLU(inplace=True),
            conv=nn.Conv2d(in_channels, in_channels // 2, 1, bias=False),
            pool=nn.AvgPool2d(kernel_size=2, stride=2),
        )
    )


class DenseNet(nn.Module):
    """DenseNet: a stem, dense blocks joined by transitions, and a linear layer.

    Args:
        blocks: Layers of each dense block; the plain network by default.
        growth_rate: Channels that each layer adds; the stem has twice as many.
        bottleneck: Whether a 1 x 1 convolution to four times the growth rate precedes each 3 x 3.
        in_channels: Channels of the images.
        num_classes: Number of logits.

    Shapes:
        images (N, in_channels, H, W) -> logits (N, num_classes)
    """

    def __init__(
        self,
        blocks: Sequence[int] = (6, 6, 6, 6),
        growth_rate: int = 32,
        bottleneck: bool = False,
        in_channels: int = 1,
        num_classes: int = 10,
    ) -> None:
        super().__init__()
        channels = 2 * growth_rate
        features: OrderedDict[str, nn.Module] = OrderedDict(
            conv0=nn.Conv2d(in_channels, channels, 7, stride=2, padding=3, bias=False),
            norm0=nn.BatchNorm2d(channels),
            relu0=nn.ReLU(inplace=True),
            pool0=nn.MaxPool2d(kernel_size=3, stride=2, padding=1),
        )
        for i, layers in enumerate(blocks, start=1):
            features[f"denseblock{i}"] = dense_block(channels, layers, growth_rate, bottleneck)
            channels += layers * growth_rate
            if i < len(blocks):
                features[f"transition{i}"] = transition(channels)
                channels //= 2
        features["norm5"] = nn.BatchNorm2d(channels)
        self.features = nn.Sequential(features)
        self.relu = nn.ReLU(inplace=True)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(channels, num_classes)
        self.apply(init_weights)

    def forward(self, images: Tensor) -> Tensor:
        x = self.features(images)  # (N, C, H/32, W/32) after four blocks
        x = self.avgpool(self.relu(x)).flatten(1)  # (N, C)
        return self.classifier(x)  # (N, num_classes)


def densenet121(growth_rate: int = 32, in_channels: int = 1, num_classes: int = 10) -> DenseNet:
    """DenseNet-121, a DenseNet-BC of the paper's Table 1."""
    return DenseNet((6, 12, 24, 16), growth_rate, True, in_channels, num_classes)


def densenet169(growth_rate: int = 32, in_channels: int = 1, num_classes: int = 10) -> DenseNet:
    """DenseNet-169, a DenseNet-BC of the paper's Table 1."""
    return DenseNet((6, 12, 32, 32), growth_rate, True, in_channels, num_classes)


def densenet201(growth_rate: int = 32, in_channels: int = 1, num_classes: int = 10) -> DenseNet:
    """DenseNet-201, a DenseNet-BC of the paper's Table 1."""
    return DenseNet((6, 12, 48, 32), growth_rate, True, in_channels, num_classes)
