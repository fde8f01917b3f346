"""GoogLeNet.

"Going Deeper with Convolutions", Christian Szegedy, Wei Liu, Yangqing Jia, Pierre Sermanet, Scott
Reed, Dragomir Anguelov, Dumitru Erhan, Vincent Vanhoucke and Andrew Rabinovich, 2014.
https://arxiv.org/abs/1409.4842

Departures from the paper:

- No local response normalisation after the first pools: VGG's authors found that it does not help.
- The dropout of 0.7 in the auxiliary heads is 0.5, and comes before both of their linear layers.
- An adaptive average pool to 4 x 4 in the auxiliary heads. At 224 x 224 it changes nothing; it
  allows other sizes.
- Batch normalisation, which came a year later, is an option, off by default as in the paper.
- Kaiming-normal initialization, fan-in; the paper does not state its initialization.
"""

from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from models.initialization import init_weights


class GoogLeNetOutput(NamedTuple):
    """Logits of the network and, in training, of its auxiliary heads, each (N, num_classes)."""

    logits: Tensor
    aux1: Tensor
    aux2: Tensor


def conv(
    in_channels: int,
    channels: int,
    kernel_size: int,
    stride: int = 1,
    padding: int = 0,
    batch_norm: bool = False,
) -> nn.Sequential:
    """A convolution, optional batch normalisation, and ReLU."""
    norm = [nn.BatchNorm2d(channels)] if batch_norm else []
    return nn.Sequential(
        nn.Conv2d(in_channels, channels, kernel_size, stride, padding),
        *norm,
        nn.ReLU(inplace=True),
    )


class Inception(nn.Module):
    """Four parallel branches, concatenated along the channels.

    Args:
        in_channels: Channels of the input.
        c1: Width of the 1 x 1 branch.
        c3: Widths of the 3 x 3 branch: 1 x 1 reduction, 3 x 3 convolution.
        c5: Widths of the 5 x 5 branch: 1 x 1 reduction, 5 x 5 convolution.
        pool: Width of the projection of the pool branch.
        batch_norm: Whether batch normalisation follows each convolution.

    Shapes:
        (N, in_channels, H, W) -> (N, c1 + c3[1] + c5[1] + pool, H, W)
    """

    def __init__(
        self,
        in_channels: int,
        c1: int,
        c3: tuple[int, int],
        c5: tuple[int, int],
        pool: int,
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        self.branch1 = conv(in_channels, c1, 1, batch_norm=batch_norm)
        self.branch3 = nn.Sequential(
            conv(in_channels, c3[0], 1, batch_norm=batch_norm),
            conv(c3[0], c3[1], 3, padding=1, batch_norm=batch_norm),
        )
        self.branch5 = nn.Sequential(
            conv(in_channels, c5[0], 1, batch_norm=batch_norm),
            conv(c5[0], c5[1], 5, padding=2, batch_norm=batch_norm),
        )
        self.branch_pool = nn.Sequential(
            nn.MaxPool2d(kernel_size=3, stride=1, padding=1),
            conv(in_channels, pool, 1, batch_norm=batch_norm),
        )

    def forward(self, x: Tensor) -> Tensor:
        branches = (self.branch1(x), self.branch3(x), self.branch5(x), self.branch_pool(x))
        return torch.cat(branches, dim=1)


class AuxiliaryHead(nn.Module):
    """A small classifier on an intermediate map; adds gradient to the lower layers.

    Shapes:
        (N, in_channels, H, W) -> logits (N, num_classes)
    """

    def __init__(self, in_channels: int, num_classes: int, batch_norm: bool = False) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(kernel_size=5, stride=3)
        self.reduce = conv(in_channels, 128, 1, batch_norm=batch_norm)
        self.adapt = nn.AdaptiveAvgPool2d(4)
        self.classifier = nn.Sequential(
            nn.Dropout(0.5),
            nn.Linear(128 * 4 * 4, 1024),
            nn.ReLU(inplace=True),
            nn.Dropout(0.5),
            nn.Linear(1024, num_classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        if min(x.shape[-2:]) >= 5:  # maps of small images are too small to pool
            x = self.pool(x)  # (N, in_channels, 4, 4) at 224 x 224
        x = self.adapt(self.reduce(x))  # (N, 128, 4, 4)
        return self.classifier(x.flatten(1))  # (N, num_classes)


class GoogLeNet(nn.Module):
    """GoogLeNet: nine inception blocks and, in training, two auxiliary heads.

    Args:
        aux_logits: Whether the network has auxiliary heads.
        batch_norm: Whether batch normalisation follows each convolution.
        dropout: Probability that a value before the linear layer is dropped.
        in_channels: Channels of the images.
        num_classes: Number of logits.

    Shapes:
        images (N, in_channels, H, W) -> logits (N, num_classes), or in training, with auxiliary
        heads, a `GoogLeNetOutput` of three such logits
    """

    def __init__(
        self,
        aux_logits: bool = True,
        batch_norm: bool = False,
        dropout: float = 0.4,
        in_channels: int = 1,
        num_classes: int = 10,
    ) -> None:
        super().__init__()

        def pool() -> nn.MaxPool2d:
            return nn.MaxPool2d(kernel_size=3, stride=2, ceil_mode=True)

        def inception(
            before: int, c1: int, c3: tuple[int, int], c5: tuple[int, int], projection: int
        ) -> Inception:
            return Inception(before, c1, c3, c5, projection, batch_norm)

        self.stem = nn.Sequential(
            conv(in_channels, 64, 7, stride=2, padding=3, batch_norm=batch_norm),
            pool(),
            conv(64, 64, 1, batch_norm=batch_norm),
            conv(64, 192, 3, padding=1, batch_norm=batch_norm),
            pool(),
        )
        self.inception3a = inception(192, 64, (96, 128), (16, 32), 32)
        self.inception3b = inception(256, 128, (128, 192), (32, 96), 64)
        self.pool3 = pool()
        self.inception4a = inception(480, 192, (96, 208), (16, 48), 64)
        self.inception4b = inception(512, 160, (112, 224), (24, 64), 64)
        self.inception4c = inception(512, 128, (128, 256), (24, 64), 64)
        self.inception4d = inception(512, 112, (144, 288), (32, 64), 64)
        self.inception4e = inception(528, 256, (160, 320), (32, 128), 128)
        self.pool4 = pool()
        self.inception5a = inception(832, 256, (160, 320), (32, 128), 128)
        self.inception5b = inception(832, 384, (192, 384), (48, 128), 128)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(1024, num_classes)
        self.aux1 = AuxiliaryHead(512, num_classes, batch_norm) if aux_logits else None
        self.aux2 = AuxiliaryHead(528, num_classes, batch_norm) if aux_logits else None
        # The 1 x 1 reductions have far more inputs than outputs: with fan-out initialization and
        # without norms, the activations would grow from block to block.
        self.apply(partial(init_weights, mode="fan_in"))
        nn.init.normal_(self.fc.weight, std=0.005)  # max pools: features three times too large

    def forward(self, images: Tensor) -> Tensor | GoogLeNetOutput:
        x = self.stem(images)  # (N, 192, H/8, W/8)
        x = self.inception3a(x)  # (N, 256, H/8, W/8)
        x = self.inception3b(x)  # (N, 480, H/8, W/8)
        x = self.pool3(x)  # (N, 480, H/16, W/16)
        a = self.inception4a(x)  # (N, 512, H/16, W/16)
        x = self.inception4b(a)  # (N, 512, H/16, W/16)
        x = self.inception4c(x)  # (N, 512, H/16, W/16)
        d = self.inception4d(x)  # (N, 528, H/16, W/16)
        x = self.inception4e(d)  # (N, 832, H/16, W/16)
        x = self.pool4(x)  # (N, 832, H/32, W/32)
        x = self.inception5a(x)  # (N, 832, H/32, W/32)
        x = self.inception5b(x)  # (N, 1024, H/32, W/32)
        x = self.avgpool(x).flatten(1)  # (N, 1024)
        logits = self.fc(self.dropout(x))  # (N, num_classes)
        if self.training and self.aux1 is not None and self.aux2 is not None:
            return GoogLeNetOutput(logits, self.aux1(a), self.aux2(d))
        return logits
