"""Reads image files of any size, mode and orientation."""

import math
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

# Pillow decodes these itself; for PostScript it would start another program.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
# What Windows and macOS leave in a folder, in small letters.
SYSTEM_FILES = ("desktop.ini", "thumbs.db", "ehthumbs.db", ".ds_store", "icon\r")
PIXELS = 16_000_000  # larger images are shrunk first
MODES = {"1": "L", "P": "RGBA", "I;16": "I", "I;16B": "I"}  # modes to convert before shrinking


class ImageError(Exception):
    """A file that cannot be read as an image."""


def files_in(folder: Path) -> Iterator[Path]:
    """The files in a folder and its subfolders, without hidden and system files.

    Subfolders that are links are followed, each folder once.

    Raises:
        OSError: If a folder cannot be read.
    """

    def fail(error: OSError) -> None:
        raise error

    seen = set()
    for place, folders, names in os.walk(folder, onerror=fail, followlinks=True):
        is_new = (real := os.path.realpath(place)) not in seen
        seen.add(real)
        folders[:] = sorted(name for name in folders if is_new and not name.startswith("."))
        if not is_new:
            continue
        for name in sorted(names):
            path = Path(place, name)
            if not name.startswith(".") and not is_of_the_system(path) and path.is_file():
                yield path


def is_of_the_system(path: Path) -> bool:
    """Whether a file is one that an operating system leaves in folders, such as Thumbs.db."""
    return path.name.lower() in SYSTEM_FILES


def read_photograph(path: Path, size: int, channels: int) -> np.ndarray:
    """Reads an image, resizes it so that its shorter side is `size`, and crops the center.

    Resizing is bilinear and antialiased. Of a file with several pictures, it reads the first.
    Transparency becomes white.

    Args:
        path: A BMP, GIF, JPEG, PNG, PPM, TIFF or WebP file of any mode and bit depth.
        size: Side of the result.
        channels: 1 for gray, 3 for RGB.

    Returns:
        uint8 (channels, size, size).

    Raises:
        ImageError: If the file is not an image, damaged, or too large to be safe.
    """
    return fitted(open_upright(path, smallest=size), size, channels)


def fitted(image: Image.Image, size: int, channels: int) -> np.ndarray:
    """Resizes an image so that its shorter side is `size`, and crops the center.

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
    """Reads an image, rotates it by its EXIF orientation, and shrinks a very large one.

    Its `info` holds the number of pictures in the file as `pictures`, and the `size` that it had.

    Args:
        path: The file.
        smallest: Smallest side at which it may be decoded. Only JPEG uses it, which can be decoded
            at a half, a quarter or an eighth of its size.
        pixels: The most pixels; larger images are shrunk.

    Raises:
        ImageError: If the file is not an image, damaged, or too large to be safe.
    """
    try:
        if not path.is_file():
            raise ImageError("it is not a file")  # opening a pipe would block
        # Given a path, Pillow memory-maps a TIFF, and garbles one that has to be rotated.
        with open(path, "rb") as file, Image.open(file, formats=_formats(path)) as opened:
            pictures, size = _count(opened), opened.size
            factor = _reduction(opened, pixels)
            wanted = (opened.width // factor, opened.height // factor)
            opened.draft(None, (smallest, smallest) if smallest else wanted)
            upright = ImageOps.exif_transpose(opened)
            if (upright.width > upright.height) != (size[0] > size[1]):
                size = size[::-1]
            small = _shrink(upright, pixels)
            small.info |= {"pictures": pictures, "size": size}
            return small
    except UnidentifiedImageError as error:
        raise ImageError(_unsupported(path)) from error
    except Image.DecompressionBombError as error:
        most = 2 * Image.MAX_IMAGE_PIXELS // 1_000_000
        raise ImageError(f"it has more than {most} million pixels: make it smaller") from error
    except ImageError:
        raise
    except Exception as error:  # decoders raise anything on damaged files
        reason = str(error).rstrip(".") or type(error).__name__
        is_decoders = getattr(error, "errno", None) is None and not isinstance(error, MemoryError)
        if is_decoders and _is_heic(path):
            reason = f"the HEIC photo is damaged, or of a kind that is not read ({reason}): save "
            reason += "it as JPEG or PNG"
        raise ImageError(reason) from error


@contextmanager
def quiet_decoders() -> Iterator[None]:
    """Hides what decoders warn about: data that they can skip.

    Python's warnings are shared by all threads, so this goes around those that decode.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def brightness(image: Image.Image) -> np.ndarray:
    """The brightness of an image (H, W), in [0, 1]; ignores transparency."""
    if image.mode.startswith("I"):  # 16 bits: `convert` would clip at 255
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
    """Number of pictures in a file of pages or frames; a photograph with a preview has one."""
    try:
        return image.n_frames if image.format in ("GIF", "TIFF", "WEBP") else 1
    except Exception:  # the later ones are damaged, and not needed
        return 1


def _reduction(image: Image.Image, pixels: int | None) -> int:
    return math.ceil(math.sqrt(image.width * image.height / min(pixels or PIXELS, PIXELS)))


def _shrink(image: Image.Image, pixels: int | None) -> Image.Image:
    """Shrinks a very large image to save memory."""
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


def _unsupported(path: Path) -> str:
    if _is_heic(path):
        return "the HEIC photo is damaged: save it as JPEG or PNG"
    return f"it is none of {', '.join(FORMATS)}"
