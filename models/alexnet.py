"""AlexNet.

"ImageNet Classification with Deep Convolutional Neural Networks", Alex Krizhevsky, Ilya Sutskever
and Geoffrey Hinton, 2012. https://papers.nips.cc/paper/4824

Departures from the paper:

- One tower instead of two, which split a network too large for one GPU of 2012. Hence no grouped
  convolutions.
- No local response normalisation: VGG's authors found that it does not help.
- An adaptive average pool before the classifier. At 224 x 224 it changes nothing; it allows other
  sizes.
- Kaiming-normal initialization; with the paper's, a standard deviation of 0.01 and biases of 1,
  training starts very slowly.
"""

from torch import Tensor, nn

from models.initialization import init_weights


class AlexNet(nn.Module):
    """AlexNet: five convolutions and three linear layers, 46,764,746 parameters.

    Args:
        dropout: Probability that a unit of the two hidden linear layers is dropped.
        in_channels: Channels of the images.
        num_classes: Number of logits.

    Shapes:
        images (N, in_channels, H, W), H and W at least 67 -> logits (N, num_classes)
    """

    def __init__(self, dropout: float = 0.5, in_channels: int = 1, num_classes: int = 10) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, 96, kernel_size=11, stride=4),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(kernel_size=3, stride=2),
            nn.Conv2d(96, 256, kernel_size=5, padding=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(kernel_size=3, stride=2),
            nn.Conv2d(256, 384, kernel_size=3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(384, 384, kernel_size=3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(384, 256, kernel_size=3, padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(kernel_size=3, stride=2),
        )
        self.avgpool = nn.AdaptiveAvgPool2d(5)
        self.classifier = nn.Sequential(
            nn.Linear(256 * 5 * 5, 4096),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(4096, 4096),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(4096, num_classes),
        )
        self.apply(init_weights)

    def forward(self, images: Tensor) -> Tensor:
        x = self.features(images)  # (N, 256, 5, 5) at 224 x 224
        x = self.avgpool(x)  # (N, 256, 5, 5)
        return self.classifier(x.flatten(1))  # (N, num_classes)
