"""Preprocessing of every image, in training and evaluation: normalise and resize."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SMALL = 1_000_000  # elements: 128 images of 88 x 88


class Preprocessing(nn.Module):
    """Normalises and resizes images.

    Bilinear and antialiased, as `torchvision.transforms.Resize` does.

    Args:
        mean: Mean of the training pixels: one number for all channels, or one per channel.
        std: Standard deviation, in the same form.
        image_size: Side of the result.
        channels: Channels of the result; a single one is repeated.

    Shapes:
        images in [0, 1], float (N, C, H, W) -> float (N, channels, image_size, image_size)
    """

    mean: float | Tensor
    std: float | Tensor

    def __init__(
        self,
        mean: float | Sequence[float],
        std: float | Sequence[float],
        image_size: int,
        channels: int,
    ) -> None:
        super().__init__()
        for name, value in (("mean", mean), ("std", std)):
            if isinstance(value, Sequence):
                by_channel = torch.tensor(value, dtype=torch.float32).view(-1, 1, 1)
                self.register_buffer(name, by_channel, persistent=False)
            else:
                setattr(self, name, value)
        self.image_size = image_size
        self.channels = channels

    def forward(self, images: Tensor, in_place: bool = False) -> Tensor:
        """Normalises and resizes images.

        Args:
            images: Float images in [0, 1] (N, C, H, W).
            in_place: Whether `images` may be overwritten, which saves the memory of a copy.
        """
        # Normalising before resizing gives the same result, and small images take less work.
        images = images.sub_(self.mean) if in_place else images - self.mean
        images = images.div_(self.std)
        size = self.image_size
        if images.shape[-2:] != (size, size):
            is_shrinking = size < images.shape[-1]  # antialiasing has no effect otherwise
            images = F.interpolate(images, (size, size), mode="bilinear", antialias=is_shrinking)
        return images.expand(-1, self.channels, -1, -1)


@contextmanager
def one_thread_if_small(elements: int, device: torch.device) -> Iterator[None]:
    """Limits torch to one thread while it works on few elements on a CPU.

    Such work takes microseconds. With several threads it is hardly faster on an idle machine, and
    on a busy one it waits milliseconds for all of them to be scheduled.
    """
    threads = torch.get_num_threads()
    if device.type != "cpu" or elements > SMALL or threads == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
