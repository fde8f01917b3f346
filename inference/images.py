"""Converts image files to the format of a dataset's images."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageOps
from torch import Tensor

from datamodules import InMemoryDataModule
from datamodules.image_files import (
    ImageError,
    brightness,
    files_in,
    has_transparency,
    is_of_the_system,
    open_upright,
    read_photograph,
)
from inference.digits import Count, UnreadableError, find_digits
from inference.ink import Inversion
from inference.preparation import prepare
from inference.things import cut_out
from terminal.errors import UserError

INK = 0.4  # of the range between paper and strongest ink: what is stronger belongs to what is shown
NOTHING = 0.05  # difference in brightness that is none
SIDE = 4096  # of a square that is cut out; a larger one is made smaller first
WORKED = 1_000_000  # pixels of a page that is looked at
NARROWEST = 200  # pixels of its shorter side; a smaller one is enlarged
TOO_SMALL = 7  # pixels of a digit's longer side in the file
SKETCH = 240  # pixels of the longer side of a page on the sheet

Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels of the file


@dataclass
class Shown:
    """An input image of the network, or a file without one and the reason."""

    source: str  # the file, or the image's index in its test set
    image: Tensor | None  # uint8 (C, H, W) of the dataset's native size
    actual: str | None = None
    box: Box | None = None  # where it is in the file
    note: str = ""  # why there is no image, or a remark on it
    number: str = ""  # such as "2 of 3", of several in one file
    page: Image.Image | None = None  # the photograph, small, at the first of it


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
            files += [] if is_of_the_system(path) else [path]
        else:
            raise UserError(f"there is no file or folder {path}.")
    if paths and not files:
        raise UserError(f"there are no files in {paths[0]}.")
    return files


def read_file(
    path: Path, data: InMemoryDataModule, invert: Inversion = "auto", count: Count = "auto"
) -> list[Shown]:
    """Reads the images in a file, in the format of a dataset; returns at least one entry.

    For a dataset of photographs or of colour images, the file is resized and cropped as in
    training. For digits, each digit on the page is one image. For clothes, the thing is cut out of
    its background. An image that is light on dark and has the dataset's size is not changed.

    Args:
        path: A BMP, GIF, HEIC, JPEG, PNG, PPM, TIFF or WebP file of any mode and bit depth; of
            several pictures the first.
        data: The dataset.
        invert: Whether the image is dark on light; auto decides by the image.
        count: Whether a page shows one digit or many; auto decides by the page.

    Raises:
        ImageError: If the file is not an image, damaged, or too large to be safe.
    """
    source = os.fsencode(path).decode(errors="backslashreplace")  # it can be any bytes
    if data.margin is None or data.native_channels == 3:
        pixels = read_photograph(path, data.native_size, data.native_channels)
        return [Shown(source, torch.from_numpy(np.ascontiguousarray(pixels)))]
    image = open_upright(path, pixels=None if data.shows is None else 4 * WORKED)
    pictures = image.info["pictures"]
    note = f"the first of {pictures} pictures in the file" if pictures > 1 else ""
    try:
        if has_transparency(image):
            image = _on_paper(image.convert("RGBA"))
        gray = brightness(image)
        border = np.concatenate([gray[0], gray[-1], gray[:, 0], gray[:, -1]])
        is_dark_on_light = invert == "yes" or (invert == "auto" and np.median(border) > 0.5)
        if data.shows is None or (gray.shape == (data.native_size,) * 2 and not is_dark_on_light):
            found = [Shown(source, _whole(gray, data, is_dark_on_light))]
        elif data.shows == "digits":
            found = _digits(source, image, data, invert, count)
        else:
            found = [_thing(source, image, data, invert)]
    except (OSError, ValueError, MemoryError) as error:
        raise ImageError(str(error)) from error
    for shown in found:
        if shown.image is not None and not shown.image.any():
            shown.image, shown.note = None, "there is nothing on it"
        shown.note = "; ".join(part for part in (shown.note, note) if part)
    return found


def read_image(path: Path, data: InMemoryDataModule, invert: Inversion = "auto") -> Tensor:
    """Reads an image file, as `read_file` does, as one image; it is black if there is nothing.

    Returns:
        uint8 (C, H, W) of the dataset's native size and channels.

    Raises:
        ImageError: If the file is no image, damaged or too large to be safe.
    """
    image = read_file(path, data, invert, "one")[0].image
    if image is None:
        size = data.native_size
        return torch.zeros(data.native_channels, size, size, dtype=torch.uint8)
    return image


def _digits(
    source: str, image: Image.Image, data: InMemoryDataModule, invert: Inversion, count: Count
) -> list[Shown]:
    """The digits on a page."""
    page, colours = _worked(image)
    try:
        digits = find_digits(colours, invert, count)
    except UnreadableError as error:
        return [Shown(source, None, note=str(error), page=_sketch(page, []))]
    found = []
    for digit in digits:
        box = _in_file(digit.box, page, image)
        side = max(box[2] - box[0], box[3] - box[1])
        if side < TOO_SMALL:
            found.append(Shown(source, None, box=box, note=f"{side} pixels are too small"))
        else:
            pixels = prepare(digit.strength, data.native_size, data.margin)
            found.append(Shown(source, torch.from_numpy(pixels)[None], box=box))
    if not found:
        found = [Shown(source, None, note="there is nothing on it")]
    for index, shown in enumerate(found, 1):
        shown.number = f"{index} of {len(found)}" if len(found) > 1 else ""
    found[0].page = _sketch(page, [digit.box for digit in digits])
    return found


def _thing(source: str, image: Image.Image, data: InMemoryDataModule, invert: Inversion) -> Shown:
    """The thing before an even background, light on black as Fashion-MNIST's were made."""
    page, colours = _worked(image)
    cut, box = cut_out(colours, invert)
    if cut is None:
        note = "the background is not even: nothing is cut out" if box else "there is nothing on it"
        return Shown(source, None, note=note, page=_sketch(page, []))
    place = _in_file(box, page, image)
    return Shown(source, _squared(cut, data), box=place, page=_sketch(page, [box]))


def _in_file(box: Box, page: Image.Image, image: Image.Image) -> Box:
    """A box on the page that is looked at, in pixels of the file."""
    scale = np.array(image.info["size"] * 2) / (page.size * 2)
    left, top, right, bottom = np.round(box * scale).astype(int).tolist()
    return left, top, right, bottom


def _sketch(page: Image.Image, boxes: Sequence[Box]) -> Image.Image:
    """The page made small, with its boxes."""
    sketch = page.convert("RGB")
    sketch.thumbnail((SKETCH, SKETCH))
    draw = ImageDraw.Draw(sketch)
    for box in boxes:
        draw.rectangle([value * sketch.width / page.width for value in box], outline="red")
    return sketch


def _worked(image: Image.Image) -> tuple[Image.Image, np.ndarray]:
    """A page at the size that it is looked at, and its colours (H, W, channels), in [0, 1]."""
    if image.mode.startswith(("I", "F")):
        gray = brightness(image)
        image = Image.fromarray((gray / max(gray.max(), 1e-6) * 255).round().astype(np.uint8))
    elif image.mode != "L":
        image = image.convert("RGB")
    shrink = (image.width * image.height / WORKED) ** 0.5
    shrink = max(shrink, max(image.size) / SIDE)
    if shrink < 1:  # few pixels are enlarged, as strokes are smoothed
        shrink = max(1 / 8, min(1, min(image.size) / NARROWEST))
    if shrink != 1:
        kind = Image.Resampling.BOX if shrink > 1 else Image.Resampling.BICUBIC
        image = image.resize([max(1, round(side / shrink)) for side in image.size], kind)
    colours = np.array(image, np.float32) / 255
    return image, colours[..., None] if colours.ndim == 2 else colours


def _whole(gray: np.ndarray, data: InMemoryDataModule, is_dark_on_light: bool) -> Tensor:
    """All that an image shows: what is dark on light is inverted, and cut out on black."""
    border = np.concatenate([gray[0], gray[-1], gray[:, 0], gray[:, -1]])
    if is_dark_on_light:
        gray = _cut_out(np.median(border) - gray, data.margin)
    elif gray.shape != (data.native_size, data.native_size):
        gray = _cut_out(gray - np.median(border), data.margin)
    return _squared(gray, data)


def _squared(gray: np.ndarray, data: InMemoryDataModule) -> Tensor:
    image = Image.fromarray(gray.astype(np.float32))
    size = (data.native_size, data.native_size)
    image = ImageOps.pad(image, size, Image.Resampling.BOX, color=0)
    return torch.from_numpy(np.array(image)).mul(255).round().to(torch.uint8).unsqueeze(0)


def _on_paper(image: Image.Image) -> Image.Image:
    """Puts a transparent image on white, or on black if its strokes are light."""
    gray, alpha = (np.array(band, np.float32) for band in image.convert("LA").split())
    is_light = (gray * alpha).sum() > 127 * alpha.sum()
    paper = Image.new("RGBA", image.size, "black" if is_light else "white")
    result = Image.alpha_composite(paper, image)
    result.info = image.info
    return result


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
