"""Cuts a thing out of an even background, as Fashion-MNIST's product photographs were."""

import numpy as np
from scipy import ndimage
from skimage.measure import label

from inference.ink import Inversion

UNEVEN = 0.06  # mean difference along the border from its colour, of a background that is uneven
DIFFERENT = 0.07  # difference in colour of a thing from its background
BLACK = 0.1  # brightness of a background on which things are light already
LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)
SMALLEST = 0.002  # of the picture, of a thing


def cut_out(
    picture: np.ndarray, invert: Inversion
) -> tuple[np.ndarray | None, tuple[int, int, int, int] | None]:
    """Cuts the thing out; dark is made light, unless the background is black.

    Args:
        picture: (H, W, channels), in [0, 1].
        invert: Whether it is dark on light; auto looks at the background.

    Returns:
        The thing (h, w) on black, in [0, 1], and where it is: left, top, right, bottom. Without the
        thing, where the background is not even; without both, where there is nothing.
    """
    picture = ndimage.gaussian_filter(picture, (0.7, 0.7, 0))
    border = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
    background = np.median(border, axis=0)
    away = np.abs(border - background).max(1)
    height, width = picture.shape[:2]
    if np.mean(np.sort(away)[: int(0.9 * len(away))]) > UNEVEN:  # a thing may reach the border
        return None, (0, 0, width, height)
    least = max(DIFFERENT, min(4 * np.median(away), 0.2))
    regions = label(ndimage.binary_closing(np.abs(picture - background).max(2) > least))
    areas = np.bincount(regions.ravel())
    areas[0] = 0
    if areas.max() < max(4, SMALLEST * regions.size):
        return None, None
    # A pair of shoes is one thing; specks are none.
    is_thing = ndimage.binary_fill_holes((areas > 0.1 * areas.max())[regions])
    rows, columns = (np.flatnonzero(is_thing.any(axis)) for axis in (1, 0))
    place = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    gray = picture @ LUMINANCE if picture.shape[2] == 3 else picture[..., 0]
    is_dark_on_light = invert == "yes" or (invert == "auto" and background.mean() > BLACK)
    light = 1 - gray if is_dark_on_light else gray
    box = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
    return np.where(is_thing, light, 0)[place], box
