"""Training on small images first, which takes a fraction of the time."""

from lightning.pytorch import Callback, LightningModule, Trainer

from datamodules import InMemoryDataModule


class GrowingImages(Callback):
    """Trains on small images first, which grow to the full size during training.

    Progressive resizing, as in Howard's fast.ai course and in EfficientNetV2 (Tan, Le 2021). Only
    training is affected: validation and test always see images of the full size. The size is a
    function of the epoch alone, so a run that goes on continues with the size that it had.

    Args:
        start: Side of the images of the first epoch, in pixels.
        until: Share of the epochs in which they grow, in [0, 1]. The rest sees the full size.
        multiple: Sizes are multiples of this, but for the full size.

    Raises:
        ValueError: If a value is out of range.
    """

    def __init__(self, start: int, until: float = 0.75, multiple: int = 16) -> None:
        if start < 1 or multiple < 1:
            raise ValueError(f"start and multiple must be at least 1, got {start} and {multiple}")
        if not 0 <= until <= 1:
            raise ValueError(f"until must be in [0, 1], got {until}")
        self.start = start
        self.until = until
        self.multiple = multiple

    def size_of_epoch(self, epoch: int, epochs: int, full: int) -> int:
        """Side of the training images in an epoch, counted from 0, of so many."""
        growing = self.until * epochs
        if epoch >= growing:
            return full
        size = self.start + (full - self.start) * epoch / growing
        return min(full, max(self.start, int(size) // self.multiple * self.multiple))

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if not isinstance(trainer.datamodule, InMemoryDataModule):
            raise TypeError("GrowingImages needs a data module of datamodules")

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        data = trainer.datamodule
        data.train_image_size = self.size_of_epoch(
            trainer.current_epoch, trainer.max_epochs, data.image_size
        )
