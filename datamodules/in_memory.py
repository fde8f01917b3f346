"""Base class of all datasets: uint8 images in memory or memory-mapped."""

import os
from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import ClassVar, Literal

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from datamodules.batches import BatchesInOrder, GlobalBatchSampler, ImagesInMemory, Split
from datamodules.checks import check_split, try_augment, try_mix
from datamodules.preprocessing import Preprocessing, one_thread_if_small


class InMemoryDataModule(LightningDataModule):
    """Slices batches of uint8 images from memory, and converts them to float on the device.

    A subclass names its facts as class attributes and implements `load`.

    Args:
        batch_size: Samples of one optimizer step, over all devices and accumulated micro-batches.
        image_size: Side that images are resized to; None keeps the dataset's own.
        channels: Channels of the batches; None is the dataset's own, and 3 repeats a gray channel.
        augment: Modules that change a batch of images in [0, 1] (N, C, H, W) in training, one after
            the other, at the dataset's own size: kornia's, which draw for each image anew, or any.
        mix: Modules that mix a training batch and its labels, as torchvision's `v2.MixUp` and
            `v2.CutMix`: from images (N, C, H, W) and probabilities (N, num_classes) to such. Of
            several, one is drawn for each optimizer step.

    Raises:
        ValueError: If a value is out of range.
    """

    name: ClassVar[str]
    classes: ClassVar[tuple[str, ...]]
    mean: ClassVar[float | Sequence[float]]  # of the training pixels in [0, 1]; or of each channel
    std: ClassVar[float | Sequence[float]]
    native_size: ClassVar[int]
    native_channels: ClassVar[int] = 1  # 3 is colour
    # Margin around the object, as a share of its longer side; None for whole photographs, which
    # have no margin.
    margin: ClassVar[float | None] = 0.0
    # What predict.py looks for in a photograph: one or several digits, or one thing on an even
    # background; None uses the whole photograph.
    shows: ClassVar[Literal["digits", "thing"] | None] = None
    note: ClassVar[str] = ""  # what a user should know about the splits
    digest: ClassVar[str] = ""  # of the images, if `root` can hold any images

    def __init__(
        self,
        batch_size: int = 128,
        image_size: int | None = None,
        channels: Literal[1, 3] | None = None,
        augment: list[nn.Module] | None = None,
        mix: nn.Module | list[nn.Module] | None = None,
    ) -> None:
        super().__init__()
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        if image_size is not None and image_size < 1:
            raise ValueError(f"image_size must be at least 1, got {image_size}")
        if channels not in (None, 1, 3):
            raise ValueError(f"channels must be 1 or 3, got {channels}")
        if channels == 1 and type(self).native_channels == 3:
            raise ValueError(f"channels must be 3, as the images of {self.name} are in colour")
        # For `load_from_checkpoint`: no options for training only, and no folders of this machine.
        self.save_hyperparameters(ignore=["augment", "mix", "root", "cache"], logger=False)
        self.batch_size = batch_size
        self._image_size = image_size
        self._channels = channels
        self.augment = nn.Sequential(*(augment or []))
        self.mix = nn.ModuleList([mix] if isinstance(mix, nn.Module) else mix or [])
        self.splits: dict[str, Split] = {}

    @property
    def image_size(self) -> int:
        """Side of the network's input images."""
        return self._image_size or self.native_size

    @property
    def channels(self) -> int:
        """Channels of the network's input images."""
        return self._channels or self.native_channels

    @cached_property
    def preprocessing(self) -> Preprocessing:
        """Normalisation and resizing; created late, as some datasets compute mean and std."""
        return Preprocessing(self.mean, self.std, self.image_size, self.channels)

    @property
    def class_counts(self) -> Tensor:
        """Training images of each class, int64 (num_classes,); known after `setup`."""
        return self.splits["train"].labels.bincount(minlength=len(self.classes))

    @abstractmethod
    def load(self, stage: Literal["fit", "test"]) -> dict[str, Split]:
        """The splits `train` and `val` for stage fit, `test` for stage test."""

    def setup(self, stage: str) -> None:
        """Loads what `stage` needs and is not in memory yet.

        Raises:
            DatasetError: If what `load` returns are no images and labels, or `augment` makes
                something else of the images.
        """
        if stage in ("test", "predict") and "test" not in self.splits:
            self._take("test", ("test",))
        elif stage in ("fit", "validate") and "train" not in self.splits:
            self._take("fit", ("train", "val"))
            try_augment(self.augment, self.splits["train"].images[:2], self.channels)
            shape = (2, self.channels, self.image_size, self.image_size)
            try_mix(self.mix, shape, len(self.classes))

    def _take(self, stage: Literal["fit", "test"], names: tuple[str, ...]) -> None:
        """Loads the splits of a stage, checks them, and keeps them."""
        loaded, size = self.load(stage), self.native_size
        for name in names:
            shape = (self.native_channels, size, size)
            check_split(loaded, name, self.name, shape, len(self.classes))
        self.splits |= {name: Split(*loaded[name]) for name in names}

    def train_dataloader(self) -> DataLoader:
        return self._dataloader("train")

    def val_dataloader(self) -> DataLoader:
        return self._dataloader("val")

    def test_dataloader(self) -> DataLoader:
        return self._dataloader("test")

    def predict_dataloader(self) -> DataLoader:
        """The test images in order, for `Trainer.predict`."""
        return self._dataloader("test")

    def on_after_batch_transfer(
        self, batch: tuple[Tensor, Tensor], dataloader_idx: int
    ) -> tuple[Tensor, Tensor]:
        """Augments, resizes, normalises and mixes uint8 images on the device."""
        images, labels = batch
        images = self.preprocess_images(images, self.trainer.training)
        if self.trainer.training and self.mix:
            images, labels = self._mixed(images, labels, self.trainer.global_step)
        return images.to(self.trainer.lightning_module.dtype), labels

    def preprocess_images(self, images: Tensor, is_training: bool) -> Tensor:
        """Augments in training, resizes and normalises.

        Shapes:
            images uint8 (N, C, H, W) -> float (N, channels, image_size, image_size)
        """
        largest = max(images.numel(), images.shape[:2].numel() * self.image_size**2)
        with one_thread_if_small(largest, images.device):
            images = images.float().div_(255)  # in place: memory traffic dominates
            is_augmented = is_training and len(self.augment) > 0
            if is_augmented and len(images):  # a process can have an empty share of a batch
                images = self.augment(images)  # may return what belongs to a module
            return self.preprocessing.to(images.device)(images, in_place=not is_augmented)

    def _mixed(self, images: Tensor, labels: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Mixes images and labels with random numbers that depend only on (seed, optimizer step).

        So all processes and micro-batches of a step use the same mixing weight or box.
        """
        source = np.random.SeedSequence((_seed(), step)).generate_state(1, np.uint64)
        with torch.random.fork_rng(devices=[]):
            # Only the CPU's: the generators of GPUs serve dropout.
            torch.default_generator.manual_seed(int(source[0]))
            chosen = int(torch.randint(len(self.mix), ()))
            return self.mix[chosen](images, F.one_hot(labels, len(self.classes)).float())

    def _dataloader(self, split: str) -> DataLoader:
        is_training, trainer = split == "train", self.trainer
        shuffle = is_training and not (trainer and trainer.overfit_batches)
        sampler = (GlobalBatchSampler if shuffle else BatchesInOrder)(
            num_samples=len(self.splits[split].labels),
            batch_size=self.batch_size,
            shuffle=shuffle,
            seed=_seed(),
            rank=trainer.global_rank if trainer else 0,
            world_size=trainer.world_size if trainer else 1,
            accumulate=trainer.accumulate_grad_batches if trainer and is_training else 1,
        )
        return DataLoader(
            ImagesInMemory(self.splits[split]),
            sampler=sampler,
            batch_size=None,  # each index of the sampler is a batch
            collate_fn=_as_it_is,
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator(),  # otherwise each iterator draws from the global one
        )


def _seed() -> int:
    return int(os.environ.get("PL_GLOBAL_SEED", 0))  # of Lightning's seed_everything


def _as_it_is(batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return batch
