"""Base class of all datasets: uint8 images in memory or memory-mapped."""

import copy
import os
from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from datamodules.batches import BatchesInOrder, GlobalBatchSampler, ImagesInMemory, Split
from datamodules.preprocessing import Preprocessing, one_thread_if_small
from datamodules.published_files import DatasetError


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
            self._take(self.load("test"), ("test",))
        elif stage in ("fit", "validate") and "train" not in self.splits:
            self._take(self.load("fit"), ("train", "val"))
            self._try_augment()
            self._try_mix()

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
            torch.default_generator.manual_seed(
                int(source[0])
            )  # only the CPU's: GPU generators serve dropout
            chosen = int(torch.randint(len(self.mix), ()))
            return self.mix[chosen](images, F.one_hot(labels, len(self.classes)).float())

    def _take(self, loaded: dict[str, Split], names: tuple[str, ...]) -> None:
        """Checks types, shapes and labels of the loaded splits, and keeps them."""
        for name in names:
            if not isinstance(loaded, dict) or not _is_split(loaded.get(name)):
                raise DatasetError(
                    f"{self.name} has no {name} images: load has to return a dict of Splits of "
                    f"dense tensors on the CPU, {name} among them."
                )
            images, labels = loaded[name]
            size = self.native_size
            if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[2:] != (size, size):
                raise DatasetError(
                    f"the {name} images of {self.name} are {_described(images)}, and have to be "
                    f"uint8 (N, C, {size}, {size}): gray is (N, 1, {size}, {size}), and 0 to 255."
                )
            if images.shape[1] != self.native_channels:
                raise DatasetError(
                    f"the {name} images of {self.name} have {images.shape[1]} channels, and its "
                    f"native_channels is {self.native_channels}."
                )
            if labels.dtype != torch.int64 or labels.shape != images.shape[:1] or not len(labels):
                raise DatasetError(
                    f"the {name} labels of {self.name} are {_described(labels)}, and have to be "
                    f"int64 ({len(images)},), one for each image, and not none."
                )
            is_wrong = (labels < 0) | (labels >= len(self.classes))
            if is_wrong.any():
                first = int(is_wrong.int().argmax())
                raise DatasetError(
                    f"the {name} labels of {self.name} are from {labels.min()} to {labels.max()}, "
                    f"and have to be from 0 to {len(self.classes) - 1}, as there are "
                    f"{len(self.classes)} classes. The first wrong one is {labels[first]}, of "
                    f"image {first}."
                )
        self.splits |= {name: Split(*loaded[name]) for name in names}

    def _try_augment(self) -> None:
        """Tries a copy of `augment` on two images, without changing the random state."""
        before = self.splits["train"].images[:2].float() / 255
        try:
            with isolate_rng():
                after = copy.deepcopy(self.augment)(before.clone())
        except (RuntimeError, ValueError, TypeError) as error:
            raise DatasetError(
                f"data.augment does not take images {tuple(before.shape)}: {error}"
            ) from error
        is_batch = isinstance(after, Tensor) and after.is_floating_point() and after.ndim == 4
        if (
            not is_batch
            or after.shape[0] != len(before)
            or after.shape[1] not in (1, self.channels)
        ):
            made = _described(after) if isinstance(after, Tensor) else f"a {type(after).__name__}"
            raise DatasetError(
                f"data.augment makes {made} of images {tuple(before.shape)}: it has to return as "
                "many images, float (N, C, H, W)."
            )
        if not after.isfinite().all():
            raise DatasetError("data.augment makes images that are NaN or infinite in places.")

    def _try_mix(self) -> None:
        """Tries a copy of each module of `mix` on two images of two classes."""
        number, size = len(self.classes), self.image_size
        images = torch.arange(2.0).view(2, 1, 1, 1).repeat(1, self.channels, size, size)
        labels = F.one_hot(torch.tensor([0, number - 1]), number).float()
        for module in self.mix:
            name = type(module).__name__
            try:
                with isolate_rng():
                    mixed = copy.deepcopy(module)(images.clone(), labels.clone())
            except (RuntimeError, ValueError, TypeError) as error:
                raise DatasetError(
                    f"data.mix: {name} does not take images {tuple(images.shape)} and "
                    f"probabilities {tuple(labels.shape)}: {error}"
                ) from error
            is_batch = isinstance(mixed, list | tuple) and [
                part.shape for part in mixed if isinstance(part, Tensor)
            ] == [images.shape, labels.shape]
            if not is_batch or not torch.allclose(mixed[1].sum(1), torch.ones(2)):
                raise DatasetError(
                    f"data.mix: {name} has to return images {tuple(images.shape)} and "
                    f"probabilities {tuple(labels.shape)}, as torchvision's v2.MixUp does."
                )

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


def _is_split(value: Any) -> bool:
    """Whether `value` is a pair of dense CPU tensors."""
    return (
        isinstance(value, tuple)
        and len(value) == 2
        and all(isinstance(part, Tensor) for part in value)
        and all(part.is_cpu and part.layout == torch.strided for part in value)
    )


def _described(values: Tensor) -> str:
    return f"{str(values.dtype).removeprefix('torch.')} {tuple(values.shape)}"


def _as_it_is(batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return batch
