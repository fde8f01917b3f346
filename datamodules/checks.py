"""Checks what a dataset, an augmentation or a mix of the user's own returns, before training."""

import copy
from typing import Any

import torch
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor, nn
from torch.nn import functional as F

from datamodules.published_files import DatasetError


def check_split(
    loaded: Any, name: str, dataset: str, shape: tuple[int, int, int], num_classes: int
) -> None:
    """Checks types, shapes and labels of a loaded split.

    Args:
        loaded: What the dataset's `load` returns.
        name: Name of the split: train, val or test.
        dataset: Name of the dataset.
        shape: Channels and sides that its images must have.
        num_classes: Its number of classes.

    Raises:
        DatasetError: If something is wrong; says what it must be.
    """
    if not isinstance(loaded, dict) or not _is_split(loaded.get(name)):
        raise DatasetError(
            f"{dataset} has no {name} images: load has to return a dict of Splits of "
            f"dense tensors on the CPU, {name} among them."
        )
    images, labels = loaded[name]
    channels, size, _ = shape
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[2:] != (size, size):
        raise DatasetError(
            f"the {name} images of {dataset} are {_described(images)}, and have to be "
            f"uint8 (N, C, {size}, {size}): gray is (N, 1, {size}, {size}), and 0 to 255."
        )
    if images.shape[1] != channels:
        raise DatasetError(
            f"the {name} images of {dataset} have {images.shape[1]} channels, and its "
            f"native_channels is {channels}."
        )
    if labels.dtype != torch.int64 or labels.shape != images.shape[:1] or not len(labels):
        raise DatasetError(
            f"the {name} labels of {dataset} are {_described(labels)}, and have to be "
            f"int64 ({len(images)},), one for each image, and not none."
        )
    is_wrong = (labels < 0) | (labels >= num_classes)
    if is_wrong.any():
        first = int(is_wrong.int().argmax())
        raise DatasetError(
            f"the {name} labels of {dataset} are from {labels.min()} to {labels.max()}, "
            f"and have to be from 0 to {num_classes - 1}, as there are {num_classes} classes. "
            f"The first wrong one is {labels[first]}, of image {first}."
        )


def try_augment(augment: nn.Module, images: Tensor, channels: int) -> None:
    """Tries a copy of `augment` on uint8 images (N, C, H, W), without changing the random state.

    Raises:
        DatasetError: If it fails, or returns something else than as many images.
    """
    before = images.float() / 255
    try:
        with isolate_rng():
            after = copy.deepcopy(augment)(before.clone())
    except (RuntimeError, ValueError, TypeError) as error:
        raise DatasetError(
            f"data.augment does not take images {tuple(before.shape)}: {error}"
        ) from error
    is_batch = isinstance(after, Tensor) and after.is_floating_point() and after.ndim == 4
    if not is_batch or after.shape[0] != len(before) or after.shape[1] not in (1, channels):
        made = _described(after) if isinstance(after, Tensor) else f"a {type(after).__name__}"
        raise DatasetError(
            f"data.augment makes {made} of images {tuple(before.shape)}: it has to return as "
            "many images, float (N, C, H, W)."
        )
    if not after.isfinite().all():
        raise DatasetError("data.augment makes images that are NaN or infinite in places.")


def try_mix(mix: nn.ModuleList, shape: tuple[int, int, int, int], num_classes: int) -> None:
    """Tries a copy of each module of `mix` on images of a shape (2, C, H, W), of two classes.

    Raises:
        DatasetError: If it fails, or does not return such images and probabilities.
    """
    images = torch.arange(2.0).view(2, 1, 1, 1).expand(shape).clone()
    labels = F.one_hot(torch.tensor([0, num_classes - 1]), num_classes).float()
    for module in mix:
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
