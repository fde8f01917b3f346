"""Reads image files of any size, mode and orientation."""

import math
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

# Pillow decodes these by itself; for PostScript it would start another program.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
# What Windows and macOS leave in a folder, in small letters.
OF_THE_SYSTEM = ("desktop.ini", "thumbs.db", "ehthumbs.db", ".ds_store", "icon\r")
PIXELS = 16_000_000  # of an image that is worked on; larger ones are made smaller first
MODES = {"1": "L", "P": "RGBA", "I;16": "I", "I;16B": "I"}  # that have to be others to be smaller


class ImageError(Exception):
    """A file that cannot be read as an image."""


def files_in(folder: Path) -> Iterator[Path]:
    """The files in a folder and in the folders within it, without hidden and system files."""
    for place, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = Path(place, name)
            if not name.startswith(".") and not is_of_the_system(path) and path.is_file():
                yield path


def is_of_the_system(path: Path) -> bool:
    """Whether a file is one that an operating system leaves in folders, such as Thumbs.db."""
    return path.name.lower() in OF_THE_SYSTEM


def read_photograph(path: Path, size: int, channels: int) -> np.ndarray:
    """Reads an image, resized so that its shorter side is `size`, and cropped to the middle.

    Bilinear and antialiased. Of several pictures in a file the first; transparency becomes white.

    Args:
        path: A BMP, GIF, JPEG, PNG, PPM, TIFF or WebP file of any mode and bit depth.
        size: Side of the result.
        channels: 1 is gray, 3 is RGB.

    Returns:
        uint8 (channels, size, size).

    Raises:
        ImageError: If the file is no image, damaged or too large to be safe.
    """
    return fitted(open_upright(path, smallest=size), size, channels)


def fitted(image: Image.Image, size: int, channels: int) -> np.ndarray:
    """Resizes an image so that its shorter side is `size`, and crops it to the middle.

    Returns:
        uint8 (channels, size, size).
    """
    if image.mode.startswith(("I", "F")):
        image = Image.fromarray((brightness(image) * 255).round().astype(np.uint8))
    if has_transparency(image):
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = image.convert("RGB" if channels == 3 else "L")
    if image.size != (size, size):
        image = ImageOps.fit(image, (size, size), Image.Resampling.BILINEAR)
    return np.array(image).reshape(size, size, channels).transpose(2, 0, 1)


def open_upright(path: Path, smallest: int | None = None, pixels: int | None = None) -> Image.Image:
    """Reads an image and turns it as its EXIF orientation says; a very large one is made smaller.

    Its `info` holds the number of pictures in the file as `pictures`, and the `size` that it had.

    Args:
        path: The file.
        smallest: Side that it may be decoded at, where the format can do that: JPEG, at a half, a
            quarter or an eighth.
        pixels: What is a very large one.

    Raises:
        ImageError: If the file is no image, damaged or too large to be safe.
    """
    try:
        if not path.is_file():
            raise ImageError("it is no file")  # opening a pipe would block
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of decoders, about what they can do without
            # By its name, Pillow maps a TIFF into memory, and garbles one that has to be turned.
            with open(path, "rb") as file, Image.open(file, formats=_formats(path)) as opened:
                pictures, size = _count(opened), opened.size
                factor = _reduction(opened, pixels)
                wanted = (opened.width // factor, opened.height // factor)
                opened.draft(None, (smallest, smallest) if smallest else wanted)
                upright = ImageOps.exif_transpose(opened)
                if (upright.width > upright.height) != (size[0] > size[1]):
                    size = size[::-1]
                small = _smaller(upright, pixels)
                small.info |= {"pictures": pictures, "size": size}
                return small
    except UnidentifiedImageError as error:
        raise ImageError(_what_it_is(path)) from error
    except Image.DecompressionBombError as error:
        most = 2 * Image.MAX_IMAGE_PIXELS // 1_000_000
        raise ImageError(f"it has more than {most} million pixels: make it smaller") from error
    except ImageError:
        raise
    except Exception as error:  # whatever a decoder raises at what anybody has made
        reason = str(error).rstrip(".") or type(error).__name__
        if _is_heic(path):
            reason = f"the HEIC photo is damaged, or of a kind that is not read ({reason}): save "
            raise ImageError(reason + "it as JPEG or PNG") from error
        raise ImageError(reason) from error


def brightness(image: Image.Image) -> np.ndarray:
    """The brightness of an image (H, W), in [0, 1], without regard to transparency."""
    if image.mode.startswith("I"):  # 16 bits, which conversion would cut off at 255
        return np.clip(np.array(image, np.float32) / 65535, 0, 1)
    if image.mode == "F":
        values = np.nan_to_num(np.array(image))
        return np.clip(values / max(values.max(), 1), 0, 1)
    return np.array(image.convert("L"), np.float32) / 255


def has_transparency(image: Image.Image) -> bool:
    return "A" in image.getbands() or "transparency" in image.info


def _formats(path: Path) -> tuple[str, ...]:
    """The formats that a file may have, so that Pillow tries no others."""
    if not _is_heic(path):
        return FORMATS
    try:
        from pillow_heif import register_heif_opener
    except ImportError as error:
        raise ImageError(
            "it is a HEIC photo, which pillow-heif reads: pip install pillow-heif, or save it as "
            "JPEG or PNG"
        ) from error
    register_heif_opener()
    return ("HEIF",)


def _count(image: Image.Image) -> int:
    """How many pictures a file of pages or frames holds; a photograph with a preview holds one."""
    try:
        return image.n_frames if image.format in ("GIF", "TIFF", "WEBP") else 1
    except Exception:  # the later ones are damaged, and not needed
        return 1


def _reduction(image: Image.Image, pixels: int | None) -> int:
    return math.ceil(math.sqrt(image.width * image.height / min(pixels or PIXELS, PIXELS)))


def _smaller(image: Image.Image, pixels: int | None) -> Image.Image:
    """Shrinks a very large image, so that working on it fits into memory."""
    factor = _reduction(image, pixels)
    if factor == 1:
        return image
    if image.mode in MODES:
        image = image.convert(MODES[image.mode])
    return image.reduce((min(factor, image.width), min(factor, image.height)))


def _is_heic(path: Path) -> bool:
    with open(path, "rb") as file:
        start = file.read(12)
    return start[4:8] == b"ftyp" and start[8:] in HEIC


def _what_it_is(path: Path) -> str:
    if _is_heic(path):
        return "the HEIC photo is damaged: save it as JPEG or PNG"
    return f"it is none of {', '.join(FORMATS)}"
