"""Converts image files to the format of a dataset's images."""

import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from datamodules import InMemoryDataModule
from terminal.errors import UserError

Inversion = Literal["auto", "yes", "no"]
INK = 0.4  # of the range between paper and strongest ink: what is stronger belongs to what is shown
NOTHING = 0.05  # difference in brightness that is none
# Pillow decodes these by itself; for PostScript it would start another program.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"avif")
OF_THE_SYSTEM = ("desktop.ini", "Thumbs.db")  # what Windows leaves in a folder
PIXELS = 16_000_000  # of an image that is worked on; larger ones are made smaller first
MODES = {"1": "L", "P": "RGBA", "I;16": "I", "I;16B": "I"}  # that have to be others to be smaller
SIDE = 4096  # of a square that is cut out, likewise


class ImageError(Exception):
    """A file that cannot be read as an image."""


def find_files(paths: Sequence[Path]) -> list[Path]:
    """The files, and those in the folders, sorted; without hidden and system files.

    Raises:
        UserError: If a path is not there, or no file is in them.
    """
    files = []
    for path in paths:
        if path.is_dir():
            files += sorted(
                file
                for file in path.rglob("*")
                if not file.name.startswith(".")
                and file.name not in OF_THE_SYSTEM
                and file.is_file()
            )
        elif path.exists():
            files.append(path)
        else:
            raise UserError(f"there is no file {path}.")
    if paths and not files:
        raise UserError(f"there are no files in {paths[0]}.")
    return files


def read_image(path: Path, data: InMemoryDataModule, invert: Inversion = "auto") -> Tensor:
    """Reads an image file in the format of a dataset whose images are light on black.

    Transparency becomes paper, colour becomes gray. What is dark on light, as told by the border,
    is inverted; what is shown is cut out, on black, with the dataset's margin. An image that is
    light on dark and of the dataset's size is taken as it is.

    Args:
        path: A BMP, GIF, JPEG, PNG, PPM, TIFF or WebP file of any mode and bit depth; of several
            pictures the first.
        data: The dataset.
        invert: Whether the image is dark on light; auto looks at it.

    Returns:
        uint8 (1, H, W) of the dataset's native size.

    Raises:
        ImageError: If the file is no image, damaged, empty or too large to be safe.
    """
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
    try:
        if not path.is_file():
            raise ImageError("it is no file")  # opening a pipe would block
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of decoders, about what they can do without
            # By its name, Pillow maps a TIFF into memory, and garbles one that has to be turned.
            with open(path, "rb") as file, Image.open(file, formats=FORMATS) as opened:
                factor = math.ceil(math.sqrt(opened.width * opened.height / PIXELS))
                # A JPEG can be decoded at a part of its size.
                opened.draft(None, (opened.width // factor, opened.height // factor))
                image = _smaller(ImageOps.exif_transpose(opened))
                if image.mode.startswith("I"):  # 16 bits, which conversion would cut off at 255
                    return np.clip(np.array(image, np.float32) / 65535, 0, 1)
                if image.mode == "F":
                    values = np.nan_to_num(np.array(image))
                    return np.clip(values / max(values.max(), 1), 0, 1)
                if "A" in image.getbands() or "transparency" in image.info:
                    image = _on_paper(image.convert("RGBA"))
                return np.array(image.convert("L"), np.float32) / 255
    except UnidentifiedImageError as error:
        raise ImageError(_what_it_is(path)) from error
    except Image.DecompressionBombError as error:
        most = 2 * Image.MAX_IMAGE_PIXELS // 1_000_000
        raise ImageError(f"it has more than {most} million pixels: make it smaller") from error
    except ImageError:
        raise
    except Exception as error:  # whatever a decoder raises at what anybody has made
        raise ImageError(str(error).rstrip(".") or type(error).__name__) from error


def _smaller(image: Image.Image) -> Image.Image:
    """Shrinks a very large image, so that working on it fits into memory."""
    factor = math.ceil(math.sqrt(image.width * image.height / PIXELS))
    if factor == 1:
        return image
    if image.mode in MODES:
        image = image.convert(MODES[image.mode])
    return image.reduce((min(factor, image.width), min(factor, image.height)))


def _what_it_is(path: Path) -> str:
    with open(path, "rb") as file:
        start = file.read(12)
    if start[4:8] == b"ftyp" and start[8:] in HEIC:
        return "it is a HEIC photo, which is not read: save it as JPEG or PNG"
    return f"it is none of {', '.join(FORMATS)}"


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
