"""Tells ink from paper on a photographed or scanned page."""

from typing import Literal, NamedTuple

import numpy as np
from PIL import Image
from scipy import ndimage
from skimage.filters import rank
from skimage.measure import block_reduce, label
from skimage.transform import hough_line, hough_line_peaks

Inversion = Literal["auto", "yes", "no"]  # whether strokes are dark on light
PEN, BROAD = 1 / 6, 0.55  # widest strokes, as shares of the page's shorter side
SEEN = 0.8  # of a broad stroke's strength: what shows less of it is taken for paper
SMOOTH = 0.8  # pixels: against grain
NOISE = 5  # standard deviations
FAINTEST = 0.06  # ink, as a share of the light of the paper
DARKEST = 0.35  # darker paper counts as this light: or steps of a poor JPEG would be strong ink
DARK = 0.3  # of the paper's light: the black beside a page in a scanner
PARTS = 8  # of a page, in each direction, whose grain is measured
STEPS = 40  # of a stroke's width, in which paper is estimated
TURNED = 12  # degrees that rules may be askew
COVERED = 0.5  # of each quarter of a rule that has to be seen


class Ink(NamedTuple):
    """The ink on a page."""

    strength: np.ndarray  # (H, W), 0 is paper and 1 the most that can be; turned back by `angle`
    light: np.ndarray  # (H, W), of the page, its strokes dark
    is_ink: np.ndarray  # (H, W), without rules
    is_edge: np.ndarray  # (H, W), along the border of the page, or beside it
    on_rules: np.ndarray  # (H, W), where rules were
    faintest: np.ndarray  # (H, W), strength that is ink
    angle: float  # degrees that the rules go upwards


def find_ink(page: np.ndarray, invert: Inversion) -> Ink:
    """Finds what is written, without rules, frames and shadows.

    The light of the paper is estimated in each place and each channel of colour, by closing
    strokes up, so that neither shadows nor ink as bright as its paper matter.

    Args:
        page: (H, W, channels), in [0, 1].
        invert: Whether it is dark on light.
    """
    beside = _beside_the_page(ndimage.gaussian_filter(page.mean(2), 1))
    if beside.any():
        rows, columns = ndimage.distance_transform_edt(
            beside, return_distances=False, return_indices=True
        )
        page = page[rows, columns]
    dark_on_light = np.stack(
        [_dark_on_light(page[..., c], invert) for c in range(page.shape[2])], axis=2
    )
    smooth = ndimage.gaussian_filter(dark_on_light, (SMOOTH, SMOOTH, 0))
    strength = _strength(smooth, PEN)
    # Strokes may be broad; but what is broad and reaches the border is a shadow, or no paper.
    broad = _strength(smooth, BROAD)
    seen = (strength > _faintest(strength)) & (strength > SEEN * broad)
    regions = label(broad > _faintest(broad), connectivity=2)
    areas = np.bincount(regions.ravel())
    share = np.bincount(regions.ravel(), seen.ravel()) / np.maximum(areas, 1)
    is_broad = (share < 0.85) & (areas > 50)
    is_broad[_at_border(regions)] = is_broad[0] = False
    if is_broad.any():
        grown = ndimage.binary_dilation(is_broad[regions], iterations=3)
        strength = np.where(grown, broad, strength)
    strength[beside] = 0
    light = smooth.mean(2)
    lowest = _faintest(strength)
    angle, rules = _rules(strength > lowest)
    if angle:
        strength = ndimage.rotate(strength, -angle, reshape=False, order=1)
        beside = ndimage.rotate(beside.astype(np.uint8), -angle, reshape=False, order=0) > 0
        lowest, light = (
            ndimage.rotate(values, -angle, reshape=False, order=0, mode="nearest")
            for values in (lowest, light)
        )
    is_ink = strength > lowest
    on_rules = np.zeros_like(is_ink)
    for axis in (1, 0):
        places = [at for along, at in rules if along == axis]
        is_ink = _without_rules(is_ink, places, axis)
        for place in places:
            reach = _reach(is_ink) + 2
            across = slice(max(0, round(place) - reach), round(place) + reach + 1)
            on_rules[(slice(None), across) if axis == 0 else across] = True
    near = max(3, min(is_ink.shape) // 80)
    edge = ndimage.binary_dilation(beside, iterations=4) if beside.any() else beside
    edge[:near] = edge[-near:] = edge[:, :near] = edge[:, -near:] = True
    return Ink(strength, light, is_ink, edge, on_rules, lowest, angle)


def _faintest(strength: np.ndarray) -> np.ndarray:
    """What is stronger is no grain of the paper, (H, W): there is more of it in a shadow."""
    height, width = strength.shape
    parts = max(1, min(PARTS, min(height, width) // 16))
    down, across = height // parts, width // parts
    # Between pixels some way apart, most of which are both of paper or both of ink.
    change = np.abs(np.diff(strength[: parts * down, : parts * across : 3], axis=1))
    blocks = [np.array_split(row, parts, axis=1) for row in np.array_split(change, parts)]
    grain = np.array([[np.median(block) if block.size else 0 for block in row] for row in blocks])
    grain = ndimage.maximum_filter(grain.astype(np.float32), 3)
    lowest = np.median(strength[::3, ::3]) + NOISE * 1.48 / 2**0.5 * grain
    lowest = Image.fromarray(np.maximum(lowest, FAINTEST).astype(np.float32))
    return np.array(lowest.resize((width, height), Image.Resampling.BILINEAR))


def _dark_on_light(channel: np.ndarray, invert: Inversion) -> np.ndarray:
    """Turns a channel over if its strokes are lighter than what is around them."""
    if invert == "auto":
        small = _smaller(channel, max(1, min(channel.shape) // 64))
        size = max(3, min(small.shape) // 3)
        bytes_ = (small.clip(0, 1) * 255).astype(np.uint8)
        difference = bytes_ - rank.median(bytes_, np.ones((size, size))).astype(float)
        sides = [_standing_free(sign * difference) for sign in (1, -1)]
        if sides[0] == sides[1]:
            sides = [(np.maximum(sign * difference, 0) ** 2).sum() for sign in (1, -1)]
        is_light = sides[0] > sides[1]
    else:
        is_light = invert == "no"
    return 1 - channel if is_light else channel


def _standing_free(difference: np.ndarray) -> float:
    """How much differs from what is around it, without what reaches the border as shadows do."""
    is_seen = difference > max(3, 0.25 * np.abs(difference).max())
    # Rules that cross a shadow or the light beside it do not make parts of it stand free.
    regions = label(ndimage.binary_dilation(is_seen), connectivity=2)
    energy = np.bincount(regions.ravel(), (is_seen * difference).ravel() ** 2)
    energy[_at_border(regions)] = energy[0] = 0
    return energy.sum()


def _at_border(regions: np.ndarray) -> np.ndarray:
    return np.concatenate([regions[0], regions[-1], regions[:, 0], regions[:, -1]])


def _strength(page: np.ndarray, width: float) -> np.ndarray:
    """How much light strokes up to a width take away, (H, W), over all channels."""
    shrink = max(1, int(min(page.shape[:2]) * width / STEPS))
    size = max(3, int(width * min(page.shape[:2])) // shrink)
    result = np.zeros(page.shape[:2], np.float32)
    for channel in range(page.shape[2]):
        light = page[..., channel]
        small = _smaller(light, shrink)
        # Light that fades towards the border goes on fading beyond it.
        pad = min(size, *(side - 1 for side in small.shape))
        padded = np.pad(small, pad, "reflect", reflect_type="odd") if pad > 0 else small
        closed = ndimage.grey_closing(padded, size=(size, size), mode="nearest")
        closed = closed[pad : pad + small.shape[0], pad : pad + small.shape[1]]
        paper = Image.fromarray(closed.astype(np.float32)).resize(
            light.shape[::-1], Image.Resampling.BILINEAR
        )
        paper = np.array(paper)
        lost = (paper - light) / np.maximum(paper, DARKEST)
        lost -= np.median(lost[::3, ::3])
        result += np.clip(lost, 0, 1) ** 2
    return np.sqrt(result / page.shape[2])


def _smaller(light: np.ndarray, times: int) -> np.ndarray:
    sizes = [max(1, round(side / times)) for side in light.shape[::-1]]
    return np.array(Image.fromarray(light).resize(sizes, Image.Resampling.BOX))


def _beside_the_page(light: np.ndarray) -> np.ndarray:
    """The black of a scanner along the borders."""
    dark = light < DARK * np.median(light)
    dark = ndimage.binary_opening(dark, iterations=2) if dark.any() else dark
    regions = label(dark)
    beside = np.zeros_like(dark)
    for line in (regions[2], regions[-3], regions[:, 2], regions[:, -3]) if dark.any() else ():
        counts = np.bincount(line)
        counts[0] = 0
        for found in np.flatnonzero(counts > 0.3 * len(line)):
            beside |= regions == found
    return ndimage.binary_dilation(beside, iterations=6) if beside.any() else beside


def _rules(seen: np.ndarray) -> tuple[float, list[tuple[int, float]]]:
    """The angle of ruled lines in degrees, and each of them: along which axis, and where."""
    shrink = max(1, max(seen.shape) // 600)
    small = block_reduce(seen, shrink, np.max)
    height, width = small.shape
    if min(height, width) < 20:
        return 0.0, []
    steps = np.deg2rad(np.arange(-TURNED, TURNED + 0.01, 0.25))
    found: list[tuple[int, float, float, float]] = []  # axis, angle, where in the middle, length
    for axis, middle in ((1, np.pi / 2), (0, 0.0)):
        votes, angles, distances = hough_line(small, theta=middle + steps)
        peaks = hough_line_peaks(
            *(votes, angles, distances),
            min_distance=3,
            min_angle=1,
            threshold=COVERED * small.shape[axis],
            num_peaks=150,
        )
        for count, angle, distance in zip(*peaks, strict=True):
            line = _along(small, axis, angle, distance)
            quarters = [part.mean() for part in np.array_split(line, 4)] if len(line) > 20 else [0]
            if min(quarters) > COVERED:
                turn = angle - middle
                found.append((axis, turn, distance, count))
    if not found:
        return 0.0, []
    best = max(found, key=lambda rule: rule[3])[1]
    turn = np.median([rule[1] for rule in found if abs(rule[1] - best) < np.deg2rad(1)])
    centre = np.array([width, height]) / 2
    rules = []
    for axis, own, distance, _ in found:
        if abs(own - turn) < np.deg2rad(1):
            # The distance from the middle of the page does not change when that is turned.
            angle = own + (np.pi / 2 if axis == 1 else 0)
            from_centre = distance - centre @ (np.cos(angle), np.sin(angle))
            rules.append((axis, (from_centre + centre[axis if axis == 1 else 0]) * shrink))
    return float(-np.rad2deg(turn)), rules


def _along(small: np.ndarray, axis: int, angle: float, distance: float) -> np.ndarray:
    """Whether a line, or its neighbour on either side, is seen: at each of its pixels."""
    height, width = small.shape
    if axis == 1:  # x cos + y sin = distance
        x = np.arange(width)
        y = np.round((distance - x * np.cos(angle)) / np.sin(angle)).astype(int)
    else:
        y = np.arange(height)
        x = np.round((distance - y * np.sin(angle)) / np.cos(angle)).astype(int)
    step = np.array([1, 0]) if axis == 1 else np.array([0, 1])
    is_inside = (y >= 1) & (y < height - 1) & (x >= 1) & (x < width - 1)
    y, x = y[is_inside], x[is_inside]
    return np.any([small[y + k * step[0], x + k * step[1]] for k in (-1, 0, 1)], axis=0)


def _without_rules(is_ink: np.ndarray, places: list[float], axis: int) -> np.ndarray:
    """Takes rules away, but not what crosses them."""
    if not places:
        return is_ink
    down = is_ink if axis == 1 else is_ink.T  # rules go from left to right
    lengths = _runs(down)
    reach = _reach(is_ink)
    near = np.zeros_like(down)
    for place in places:
        middle = round(place)
        rows = slice(max(0, middle - reach), middle + reach + 1)
        strip = lengths[rows]
        # The run that is nearest to the rule, in each column.
        thickness = np.percentile(strip.max(0)[strip.any(0)], 60) if strip.any() else 0
        near[rows] |= (strip > 0) & (strip <= 1.5 * thickness + 1.5)
    cleaned = down & ~near
    # Where there is ink above and below, the rule hid a stroke.
    most = int(np.median(lengths[near])) + 3 if near.any() else 3
    cleaned |= near & ndimage.binary_closing(cleaned, np.ones((most, 1)))
    return cleaned if axis == 1 else cleaned.T


def _reach(page: np.ndarray) -> int:
    """Pixels to either side of a rule's middle that it may cover."""
    return max(4, min(page.shape) // 130)


def _runs(down: np.ndarray) -> np.ndarray:
    """For each pixel of ink the length of the run from top to bottom that it is in, else 0."""
    columns = np.pad(down.T, ((0, 0), (1, 1))).astype(np.int8)
    change = np.diff(columns.ravel())
    starts, ends = np.flatnonzero(change == 1) + 1, np.flatnonzero(change == -1) + 1
    lengths = np.zeros(columns.size, np.int32)
    marks = np.zeros(columns.size + 1, np.int32)
    np.add.at(marks, starts, ends - starts)
    np.subtract.at(marks, ends, ends - starts)
    lengths = np.cumsum(marks[:-1]).reshape(columns.shape)[:, 1:-1]
    return lengths.T
