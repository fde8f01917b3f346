"""What happens to every image, in training or not, before a network sees it."""

from torch import Tensor, nn
from torch.nn import functional as F


class Preparation(nn.Module):
    """Normalises and resizes images.

    Bilinear and antialiased, as `torchvision.transforms.Resize` does.

    Args:
        mean: Mean of the training pixels.
        std: Their standard deviation.
        image_size: Side of the result.
        channels: Channels of the result; a single one is repeated.

    Shapes:
        images in [0, 1], float (N, C, H, W) -> float (N, channels, image_size, image_size)
    """

    def __init__(self, mean: float, std: float, image_size: int, channels: int) -> None:
        super().__init__()
        self.mean = mean
        self.std = std
        self.image_size = image_size
        self.channels = channels

    def forward(self, images: Tensor) -> Tensor:
        # Normalised first, as it means the same and the small images are a fraction of the work.
        images = (images - self.mean) / self.std
        size = (self.image_size, self.image_size)
        if images.shape[-2:] != size:
            is_shrinking = self.image_size < images.shape[-1]  # or antialiasing changes nothing
            images = F.interpolate(images, size, mode="bilinear", antialias=is_shrinking)
        return images.expand(-1, self.channels, -1, -1)
