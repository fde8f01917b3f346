"""ResNet.

"Deep Residual Learning for Image Recognition", Kaiming He, Xiangyu Zhang, Shaoqing Ren and Jian
Sun, 2015. https://arxiv.org/abs/1512.03385

Departures from the paper:

- The stride of a bottleneck is on its 3 x 3 convolution, as in torchvision ("v1.5"), not on the
  first 1 x 1: it discards less of the feature map.
- Kaiming-normal initialization of the convolutions, fan-out, as in torchvision.

The parameters have torchvision's names.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from models.initialization import init_weights


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut, for ResNet-18 and 34.

    Shapes:
        (N, in_channels, H, W) -> (N, channels, H/stride, W/stride)
    """

    expansion = 1

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = shortcut(in_channels, channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        residual = self.relu(self.bn1(self.conv1(x)))
        residual = self.bn2(self.conv2(residual))
        return self.relu(residual + self.downsample(x))


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3 and 1 x 1 convolutions beside a shortcut, for ResNet-50 and deeper.

    Shapes:
        (N, in_channels, H, W) -> (N, 4 channels, H/stride, W/stride)
    """

    expansion = 4

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        out_channels = channels * self.expansion
        self.conv1 = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = shortcut(in_channels, out_channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        residual = self.relu(self.bn1(self.conv1(x)))
        residual = self.relu(self.bn2(self.conv2(residual)))
        residual = self.bn3(self.conv3(residual))
        return self.relu(residual + self.downsample(x))


def shortcut(in_channels: int, channels: int, stride: int) -> nn.Module:
    """The identity; where the shape changes, the paper's projection (option B)."""
    if stride == 1 and in_channels == channels:
        return nn.Identity()
    return nn.Sequential(
        nn.Conv2d(in_channels, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
    )


class ResNet(nn.Module):
    """ResNet: a stem, four stages of residual blocks and a linear layer.

    Args:
        layers: Blocks of each stage, a column of the paper's Table 1; ResNet-18 by default.
        bottleneck: Whether the blocks are bottlenecks.
        include_top: Whether to classify; if not, the output is the last feature map, for use as a
            backbone.
        in_channels: Channels of the images.
        num_classes: Number of logits.

    Shapes:
        images (N, in_channels, H, W) -> logits (N, num_classes), or without the top the feature map
        (N, 512 x expansion, H/32, W/32); the expansion of a bottleneck is 4, else 1
    """

    def __init__(
        self,
        layers: Sequence[int] = (2, 2, 2, 2),
        bottleneck: bool = False,
        include_top: bool = True,
        in_channels: int = 1,
        num_classes: int = 10,
    ) -> None:
        super().__init__()
        block = Bottleneck if bottleneck else BasicBlock

        def stage(before: int, channels: int, blocks: int, stride: int) -> nn.Sequential:
            after = channels * block.expansion
            rest = [block(after, channels, stride=1) for _ in range(blocks - 1)]
            return nn.Sequential(block(before, channels, stride), *rest)

        self.conv1 = nn.Conv2d(in_channels, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        self.layer1 = stage(64, 64, layers[0], stride=1)
        self.layer2 = stage(64 * block.expansion, 128, layers[1], stride=2)
        self.layer3 = stage(128 * block.expansion, 256, layers[2], stride=2)
        self.layer4 = stage(256 * block.expansion, 512, layers[3], stride=2)
        self.include_top = include_top
        if include_top:
            self.avgpool = nn.AdaptiveAvgPool2d(1)
            self.fc = nn.Linear(512 * block.expansion, num_classes)
        self.apply(init_weights)

    def forward(self, images: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(images)))  # (N, 64, H/2, W/2)
        x = self.maxpool(x)  # (N, 64, H/4, W/4)
        x = self.layer1(x)  # (N, 64 x expansion, H/4, W/4)
        x = self.layer2(x)  # (N, 128 x expansion, H/8, W/8)
        x = self.layer3(x)  # (N, 256 x expansion, H/16, W/16)
        x = self.layer4(x)  # (N, 512 x expansion, H/32, W/32)
        if not self.include_top:
            return x
        return self.fc(self.avgpool(x).flatten(1))  # (N, num_classes)


def resnet18(include_top: bool = True, in_channels: int = 1, num_classes: int = 10) -> ResNet:
    """ResNet-18."""
    return ResNet((2, 2, 2, 2), False, include_top, in_channels, num_classes)


def resnet34(include_top: bool = True, in_channels: int = 1, num_classes: int = 10) -> ResNet:
    """ResNet-34."""
    return ResNet((3, 4, 6, 3), False, include_top, in_channels, num_classes)


def resnet50(include_top: bool = True, in_channels: int = 1, num_classes: int = 10) -> ResNet:
    """ResNet-50."""
    return ResNet((3, 4, 6, 3), True, include_top, in_channels, num_classes)


def resnet101(include_top: bool = True, in_channels: int = 1, num_classes: int = 10) -> ResNet:
    """ResNet-101."""
    return ResNet((3, 4, 23, 3), True, include_top, in_channels, num_classes)


def resnet152(include_top: bool = True, in_channels: int = 1, num_classes: int = 10) -> ResNet:
    """ResNet-152."""
    return ResNet((3, 8, 36, 3), True, include_top, in_channels, num_classes)
