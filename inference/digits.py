"""Finds digits on a page."""

from typing import Any, Literal, NamedTuple

import numpy as np
from skimage.measure import label, regionprops

from inference.ink import Ink, Inversion, find_ink

Count = Literal["auto", "one", "many"]
Region = Any  # what regionprops returns, whose class has no public name
LEAST = 9  # pixels of a stroke
SMALLEST = 10  # pixels of a stroke's longer side
MOST = 200  # digits on a page
WEAKEST = 0.2  # ink's strength: weaker marks are stains or shadows
AT_EDGE = 0.5  # the same where a mark reaches the border of the page, as shadows do
CLEAR = 1.7  # times the faintest ink: what is written is stronger than what may be grain
FULL = 0.4  # of a page, covered with ink
STEP = 0.16  # of the page's shorter side: a larger stroke is no edge of a shadow


class UnreadableError(Exception):
    """A page with something on it that is not taken for digits; the message says what."""


class Digit(NamedTuple):
    """What is taken for one digit."""

    box: tuple[int, int, int, int]  # left, top, right, bottom in pixels of the page
    strength: np.ndarray  # (height, width) of its strokes alone, in [0, 1]


def find_digits(page: np.ndarray, invert: Inversion = "auto", count: Count = "auto") -> list[Digit]:
    """Finds the digits on a page, from left to right and from top to bottom.

    Args:
        page: (H, W, channels), in [0, 1]; one of more than 1,000,000 pixels is slow.
        invert: Whether it is dark on light; auto looks at it.
        count: "one" takes everything as one digit, "many" each connected stroke; auto joins
            strokes that are near to each other, or above one another.

    Raises:
        UnreadableError: If there are too many.
    """
    ink = find_ink(page, invert)
    regions, levels = _strokes(ink)
    if not regions:
        return []
    groups = _groups(regions, count) if len(regions) <= 3 * MOST else [[]] * len(regions)
    if len(groups) > MOST:
        raise UnreadableError(f"{len(groups)} strokes are more than a page of digits has")
    if sum(region.area for region in regions) > FULL * ink.is_ink.size:
        raise UnreadableError("there is more ink than a page of digits has")
    digits = []
    for group in groups:
        top = min(regions[k].slice[0].start for k in group)
        bottom = max(regions[k].slice[0].stop for k in group)
        left = min(regions[k].slice[1].start for k in group)
        right = max(regions[k].slice[1].stop for k in group)
        strength = np.zeros((bottom - top, right - left), np.float32)
        for k in group:
            rows, columns = regions[k].slice
            part = np.where(regions[k].image, ink.strength[rows, columns] / levels[k], 0)
            place = strength[
                rows.start - top : rows.stop - top, columns.start - left : columns.stop - left
            ]
            np.maximum(place, part, out=place)
        box = (left, top, right, bottom)
        digits.append(Digit(_turned_back(box, ink), np.clip(strength, 0, 1)))
    return digits


def _strokes(ink: Ink) -> tuple[list[Region], list[float]]:
    """The connected strokes that are no specks, and how strong each is."""
    labels = label(ink.is_ink, connectivity=2)
    areas = np.bincount(labels.ravel())
    areas[0] = 0
    # Of the many specks of a coarse paper the largest, as each takes time.
    least = max(LEAST, np.sort(areas)[-2000:][0])
    labels[areas[labels] < least] = 0
    found = regionprops(labels, intensity_image=ink.strength)
    found = [region for region in found if not _is_of_the_page(region, ink)]
    sides = np.array([max(region.image.shape) for region in found])
    strong = np.array([np.percentile(r.image_intensity[r.image], 85) for r in found])
    likely = sides >= SMALLEST
    if not likely.any():
        return [], []
    areas = np.array([region.area for region in found], int)
    level = np.percentile(np.repeat(strong[likely], areas[likely]), 75)
    kept, levels = [], []
    for region, strength in zip(found, strong, strict=True):
        weakest = AT_EDGE if (ink.is_edge[region.slice] & region.image).any() else WEAKEST
        grain = CLEAR * ink.faintest[region.slice].mean()
        if strength > max(weakest, 0.35 * level, grain, _step(region, ink)):
            kept.append(region)
            levels.append(float(strength))
    # Anew, as a stroke ends where it is half as strong, and not where grain hides it.
    sharp = np.zeros_like(labels)
    for number, (region, strength) in enumerate(zip(kept, levels, strict=True), 1):
        part = sharp[region.slice]
        part[region.image & (ink.strength[region.slice] > 0.4 * strength)] = number
    kept = regionprops(label(sharp, connectivity=2), intensity_image=sharp)
    kept = [region for region in kept if region.area >= LEAST]
    return kept, [levels[int(region.intensity_max) - 1] for region in kept]


def _is_of_the_page(region: Region, ink: Ink) -> bool:
    """Whether it is what is left of a rule, or a shadow or frame along the border."""
    if ink.on_rules[region.slice][region.image].mean() > 0.9:
        return True
    at_border = ink.is_edge[region.slice] & region.image
    contacts = [at_border.any(axis).mean() for axis in (0, 1)]
    is_solid = region.image.mean() > 0.6
    return (
        at_border.sum() > 0.4 * region.area
        or min(contacts) > 0.6  # in a corner
        or (is_solid and max(contacts) > 0.6)
    )


def _step(region: Region, ink: Ink) -> float:
    """How much the paper differs from one side of a small region to the other.

    Along the sharp edge of a shadow there is a row of such regions, which are no strokes.
    """
    height, width = ink.light.shape
    rows, columns = region.slice
    side = max(region.image.shape)
    if side > STEP * min(height, width):
        return 0.0
    middle = ((rows.start + rows.stop) // 2, (columns.start + columns.stop) // 2)
    steps = []
    for down, across in ((side, 0), (0, side), (side, side), (side, -side)):
        ends = [(middle[0] + k * down, middle[1] + k * across) for k in (-1, 1)]
        ends = [(min(max(y, 0), height - 1), min(max(x, 0), width - 1)) for y, x in ends]
        if any(ink.is_ink[end] for end in ends):
            continue  # on the next digit
        light = [float(ink.light[end]) for end in ends]
        steps.append(abs(light[0] - light[1]) / max(*light, 0.2))
    return max(steps, default=0.0)


def _groups(regions: list[Region], count: Count) -> list[list[int]]:
    """Which strokes make up each digit, in reading order."""
    boxes = np.array(
        [(r.slice[1].start, r.slice[0].start, r.slice[1].stop, r.slice[0].stop) for r in regions],
        float,
    )
    sides = np.maximum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])
    usual = np.percentile(np.repeat(sides, [int(region.area) for region in regions]), 60)
    groups = [[k] for k in range(len(regions))]
    if count == "one":
        groups = [[k for k in range(len(regions)) if sides[k] > 0.1 * usual]]
    elif count == "auto":
        groups = _joined(boxes, usual)
    areas = np.array([region.area for region in regions])
    least = max(0.35 * usual, SMALLEST)
    groups = [g for g in groups if _side(boxes[g]) >= least and areas[g].sum() >= 2 * SMALLEST]
    if count == "auto":
        groups = [g for g in groups if not _is_dash_or_block(boxes[g], areas[g].sum())]
    return _in_order(groups, boxes)


def _is_dash_or_block(boxes: np.ndarray, area: int) -> bool:
    """Whether it is a line that lies, or solid without standing as a one does."""
    width, height = (boxes[:, k + 2].max() - boxes[:, k].min() for k in (0, 1))
    return width > 3 * height or (area > 0.9 * width * height and height < 1.6 * width)


def _side(boxes: np.ndarray) -> float:
    return max(boxes[:, 2].max() - boxes[:, 0].min(), boxes[:, 3].max() - boxes[:, 1].min())


def _joined(boxes: np.ndarray, usual: float) -> list[list[int]]:
    """Joins strokes that lie near to each other or above one another."""
    groups, boxes = [[k] for k in range(len(boxes))], boxes.copy()
    while True:
        start = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
        end = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
        apart = start - end  # (N, N, 2), across and down; negative where they overlap
        whole = np.maximum(boxes[:, None, 2:], boxes[None, :, 2:])
        whole = (whole - np.minimum(boxes[:, None, :2], boxes[None, :, :2])).max(2)
        widths, sides = boxes[:, 2] - boxes[:, 0], (boxes[:, 2:] - boxes[:, :2]).max(1)
        gap = np.maximum(apart.max(2), 0)
        is_above = -apart[..., 0] > 0.4 * np.minimum.outer(widths, widths)
        is_part = np.minimum.outer(sides, sides) < 0.5 * np.maximum.outer(sides, sides)
        is_near = gap < usual * np.select([is_above, is_part], [0.25, 0.2], 0.05)
        is_one = is_near & (whole <= 1.35 * np.maximum(usual, np.maximum.outer(sides, sides)))
        np.fill_diagonal(is_one, False)
        if not is_one.any():
            return groups
        i, j = np.unravel_index(np.where(is_one, gap, np.inf).argmin(), gap.shape)
        union = [*np.minimum(boxes[i, :2], boxes[j, :2]), *np.maximum(boxes[i, 2:], boxes[j, 2:])]
        groups[i], boxes[i] = groups[i] + groups[j], union
        del groups[j]
        boxes = np.delete(boxes, j, axis=0)


def _in_order(groups: list[list[int]], boxes: np.ndarray) -> list[list[int]]:
    """Sorts digits line by line; the lines may be askew."""
    if len(groups) < 2:
        return groups
    middles = np.array(
        [
            (
                (boxes[g, 0].min() + boxes[g, 2].max()) / 2,
                (boxes[g, 1].min() + boxes[g, 3].max()) / 2,
            )
            for g in groups
        ]
    )
    side = np.median([_side(boxes[g]) for g in groups])
    # The slope at which the digits lie in the fewest and tightest lines.
    best = None
    for degrees in sorted(np.arange(-12, 12.1, 0.5), key=abs):
        turn = np.deg2rad(degrees)
        heights = np.sort(middles[:, 1] * np.cos(turn) - middles[:, 0] * np.sin(turn))
        steps = np.diff(heights)
        lines = 1 + (steps > 0.6 * side).sum()
        spread = steps[steps <= 0.6 * side].sum()
        cost = lines + spread / side + abs(degrees) / 100
        if best is None or cost < best[0]:
            best = (cost, turn)
    turn = best[1]
    heights = middles[:, 1] * np.cos(turn) - middles[:, 0] * np.sin(turn)
    order = np.argsort(heights)
    line = np.zeros(len(groups), int)
    line[order[1:]] = np.cumsum(np.diff(heights[order]) > 0.6 * side)
    return [groups[k] for k in np.lexsort((middles[:, 0], line))]


def _turned_back(box: tuple[int, int, int, int], ink: Ink) -> tuple[int, int, int, int]:
    """A box on the page as it was before its rules were made level."""
    height, width = ink.is_ink.shape
    turn = np.deg2rad(-ink.angle)
    x = np.array(box)[[0, 2, 0, 2]] - width / 2
    y = np.array(box)[[1, 1, 3, 3]] - height / 2
    x, y = x * np.cos(turn) - y * np.sin(turn), y * np.cos(turn) + x * np.sin(turn)
    x, y = np.clip(x + width / 2, 0, width), np.clip(y + height / 2, 0, height)
    return round(x.min()), round(y.min()), round(x.max()), round(y.max())
