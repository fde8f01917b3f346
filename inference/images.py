"""Converts image files to the format of a dataset's images."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from datamodules import InMemoryDataModule
from datamodules.image_files import (
    ImageError,
    brightness,
    files_in,
    has_transparency,
    open_upright,
    read_photograph,
)
from terminal.errors import UserError

Inversion = Literal["auto", "yes", "no"]
INK = 0.4  # of the range between paper and strongest ink: what is stronger belongs to what is shown
NOTHING = 0.05  # difference in brightness that is none
SIDE = 4096  # of a square that is cut out; a larger one is made smaller first


def find_files(paths: Sequence[Path]) -> list[Path]:
    """The files, and those in the folders, sorted; without hidden and system files.

    Raises:
        UserError: If a path is not there, or no file is in them.
    """
    files = []
    for path in paths:
        if path.is_dir():
            files += sorted(files_in(path))
        elif path.exists():
            files.append(path)
        else:
            raise UserError(f"there is no file {path}.")
    if paths and not files:
        raise UserError(f"there are no files in {paths[0]}.")
    return files


def read_image(path: Path, data: InMemoryDataModule, invert: Inversion = "auto") -> Tensor:
    """Reads an image file in the format of a dataset.

    Of a dataset of whole photographs, or in colour: resized and cropped as these are.

    Of a dataset whose images are light on black: transparency becomes paper, colour becomes gray.
    What is dark on light, as told by the border, is inverted; what is shown is cut out, on black,
    with the dataset's margin. An image that is light on dark and of the dataset's size is taken as
    it is.

    Args:
        path: A BMP, GIF, JPEG, PNG, PPM, TIFF or WebP file of any mode and bit depth; of several
            pictures the first.
        data: The dataset.
        invert: Whether the image is dark on light; auto looks at it.

    Returns:
        uint8 (C, H, W) of the dataset's native size and channels.

    Raises:
        ImageError: If the file is no image, damaged, empty or too large to be safe.
    """
    if data.margin is None or data.native_channels == 3:
        pixels = read_photograph(path, data.native_size, data.native_channels)
        return torch.from_numpy(np.ascontiguousarray(pixels))
    gray = _read_gray(path)
    border = np.concatenate([gray[0], gray[-1], gray[:, 0], gray[:, -1]])
    size = (data.native_size, data.native_size)
    if invert == "yes" or (invert == "auto" and np.median(border) > 0.5):
        gray = _cut_out(np.median(border) - gray, data.margin)
    elif gray.shape != size:
        gray = _cut_out(gray - np.median(border), data.margin)
    image = Image.fromarray(gray.astype(np.float32))
    image = ImageOps.pad(image, size, Image.Resampling.BOX, color=0)
    return torch.from_numpy(np.array(image)).mul(255).round().to(torch.uint8).unsqueeze(0)


def _read_gray(path: Path) -> np.ndarray:
    """Reads the brightness (H, W), in [0, 1]."""
    image = open_upright(path)
    try:
        if has_transparency(image):
            image = _on_paper(image.convert("RGBA"))
        return brightness(image)
    except (OSError, ValueError, MemoryError) as error:
        raise ImageError(str(error)) from error


def _on_paper(image: Image.Image) -> Image.Image:
    """Puts a transparent image on white, or on black if its strokes are light."""
    gray, alpha = (np.array(band, np.float32) for band in image.convert("LA").split())
    is_light = (gray * alpha).sum() > 127 * alpha.sum()
    paper = Image.new("RGBA", image.size, "black" if is_light else "white")
    return Image.alpha_composite(paper, image)


def _cut_out(ink: np.ndarray, margin: float) -> np.ndarray:
    """Crops what is shown to a square with a margin: paper is 0, the strongest ink is 1."""
    if ink.max() < NOTHING:
        return np.zeros_like(ink)
    ink = np.clip(ink / ink.max(), 0, 1)
    rows, columns = (np.flatnonzero((ink > INK).any(axis)) for axis in (1, 0))
    ink = np.where(ink > INK / 2, ink, 0)  # uneven light on the paper
    shown = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    if max(shown.shape) > SIDE:  # a line of 100,000 pixels would be in a square of 10 billion
        height, width = (max(1, size * SIDE // max(shown.shape)) for size in shown.shape)
        small = Image.fromarray(shown.astype(np.float32))
        shown = np.array(small.resize((width, height), Image.Resampling.BOX))
    height, width = shown.shape
    side = round(max(height, width) * (1 + 2 * margin))
    square = np.zeros((side, side), ink.dtype)
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = shown
    return square
