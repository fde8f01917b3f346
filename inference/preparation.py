"""Prepares the strokes of a digit as MNIST's digits were."""

import numpy as np
from PIL import Image
from scipy import ndimage
from skimage.measure import block_reduce
from skimage.morphology import skeletonize

FINE = 8  # times the size of the prepared digit: where its strokes are measured
THINNEST, THICKEST = 0.11, 0.24  # strokes, as shares of a digit's longer side; most of MNIST's


def prepare(strength: np.ndarray, size: int, margin: float) -> np.ndarray:
    """Makes an image of a digit like those of a dataset.

    As MNIST's were made: strokes as strong as a pen's, scaled to the inner box, in the middle by
    their centre of mass as far as the margin goes.

    Args:
        strength: (h, w) of the strokes, in [0, 1].
        size: Side of the dataset's images.
        margin: Around the digit, as a share of its longer side.

    Returns:
        uint8 (size, size).
    """
    inner = round(size / (1 + 2 * margin))
    fine = FINE * inner
    shrink = max(1, max(strength.shape) // fine)
    if shrink > 1:  # so that no stroke is lost
        strength = block_reduce(strength, shrink, np.max)
    scale = fine / max(strength.shape)
    shape = [max(1, round(side * scale)) for side in strength.shape]
    pad = max(2, fine // 8)
    large = Image.fromarray(np.pad(strength, 1)).resize(
        [side + round(2 * scale) for side in shape[::-1]], Image.Resampling.BICUBIC
    )
    is_ink = np.pad(np.array(large) > 0.5, pad)
    reach = ndimage.distance_transform_edt(is_ink)
    width = 2 * np.median(reach[skeletonize(is_ink)]) if is_ink.any() else 0
    if width < THINNEST * fine:
        grow = (THINNEST * fine - width) / 2
        is_ink = ndimage.distance_transform_edt(~is_ink) <= grow
    elif width > THICKEST * fine:
        is_ink = reach > (width - THICKEST * fine) / 2
    rows, columns = (np.flatnonzero(is_ink.any(axis)) for axis in (1, 0))
    if not len(rows):
        return np.zeros((size, size), np.uint8)
    is_ink = is_ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    share = inner / max(is_ink.shape)
    down, across = (max(1, round(side * share)) for side in is_ink.shape)
    small = Image.fromarray(is_ink.astype(np.float32)).resize((across, down), Image.Resampling.BOX)
    small = np.array(small)
    middle = np.array(ndimage.center_of_mass(small)) + 0.5
    start = np.round(size / 2 - middle).astype(int)
    start = np.clip(start, 0, np.array([size, size]) - small.shape)
    image = np.zeros((size, size), np.float32)
    image[start[0] : start[0] + down, start[1] : start[1] + across] = small
    return (image * 255).round().astype(np.uint8)
