"""Draws pages as people photograph and scan them, with MNIST's digits and known answers."""

import io
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter
from scipy import ndimage
from skimage.morphology import skeletonize

MEGA = 1_000_000
TILE = 512  # pixels: the grain repeats itself
FINE = 10  # times MNIST's size: where strokes are made thinner or thicker
KINDS = (
    *("plain", "thin pen", "thick pen", "rules", "squares", "shadow", "frame", "colours"),
    *("light on dark", "turned", "poor JPEG", "12 megapixels", "everything"),
    *("several", "several on rules", "several, everything"),
)
BLANK = ("plain", "rules", "squares", "shadow", "frame", "colours", "light on dark", "everything")


class Written(NamedTuple):
    """A digit on a page: its label, and the box left, top, right, bottom in pixels."""

    label: int
    box: tuple[float, float, float, float]


class Page(NamedTuple):
    """A JPEG file and what is written on it, line by line."""

    file: bytes
    digits: list[Written]


def draw_page(
    kind: str, images: np.ndarray, labels: np.ndarray, rng: np.random.Generator, blank: bool = False
) -> Page:
    """Draws a page of a kind of `KINDS`, with digits drawn from MNIST's.

    Args:
        kind: What is hard about it; "everything" draws each of the difficulties by chance.
        images: uint8 (N, 28, 28).
        labels: Their labels, (N,).
        rng: What the page depends on, with the kind.
        blank: Whether nothing is written on it.
    """

    def has(name: str, chance: float = 0.25) -> bool:
        return name in kind or ("everything" in kind and rng.random() < chance)

    megapixels = 12 if kind == "12 megapixels" else np.exp(rng.uniform(np.log(0.3), np.log(3)))
    ratio = rng.choice([4 / 3, 3 / 2, 2**0.5, 16 / 9]) ** rng.choice([-1, 1])
    width, height = (round((megapixels * MEGA * of) ** 0.5) for of in (ratio, 1 / ratio))
    number = int(rng.integers(2, 13)) if "several" in kind else 1
    chosen = rng.integers(len(images), size=number)
    angle = rng.uniform(-10, 10) if has("turned", 0.5) else rng.uniform(-1, 1)
    if kind == "several on rules":
        angle = rng.uniform(-4, 4)
    pen = "thin" if has("thin pen") else "thick" if has("thick pen") else ""
    ink = Image.new("L", (width, height))
    for index, (left, top, side) in zip(chosen, _places(number, width, height, rng), strict=True):
        if not blank:
            stroke = _stroke(images[index], side, pen, rng)
            ink.paste(stroke, (left, top), stroke)
            ink.info.setdefault("boxes", []).append((left, top, *stroke.size))
    boxes = ink.info.pop("boxes", [])
    lines = Image.new("L", (width, height))
    draw = ImageDraw.Draw(lines)
    step, thickness = min(width, height) * rng.uniform(0.05, 0.13), min(width, height) / 500
    thickness = max(1, round(thickness * rng.uniform(0.5, 1.6)))
    rules, squares = has("rules"), has("squares")
    # Beyond the borders, as the page is turned afterwards.
    for at in np.arange(-height, 2 * height, step) + rng.uniform(0, step):
        if rules or squares:
            draw.line((-width, at, 2 * width, at), 255, thickness)
    for at in np.arange(-width, 2 * width, step) + rng.uniform(0, step):
        if squares:
            draw.line((at, -height, at, 2 * height), 255, thickness)
    paper, of_ink, of_lines = _colours(
        has("colours"), has("light on dark") and not has("colours"), rng
    )
    flat = Image.new("RGB", (width, height), _bytes(paper))
    for layer, colour in ((lines, of_lines), (ink, of_ink)):
        flat.paste(_bytes(colour), mask=layer.rotate(angle, Image.Resampling.BILINEAR))
    page = np.array(flat, np.float32)
    page *= _light(width, height, has("shadow"), rng)[..., None]
    grain = rng.uniform(1, 8)  # of 255
    tile = grain * rng.standard_normal((TILE, TILE, 1), np.float32)
    tile = tile + grain / 2 * rng.standard_normal((TILE, TILE, 3), np.float32)
    for top in range(0, height, TILE):
        for left in range(0, width, TILE):
            part = page[top : top + TILE, left : left + TILE]
            part += tile[: part.shape[0], : part.shape[1]]
    picture = Image.fromarray(page.clip(0, 255, out=page).astype(np.uint8))
    if has("frame"):
        _frame(picture, rng)
    if rng.random() < 0.5:
        picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.2)))
    file = io.BytesIO()
    quality = rng.integers(8, 30) if has("poor JPEG") else rng.integers(80, 96)
    picture.save(file, "JPEG", quality=int(quality))
    written = [_turned(box, angle, width, height) for box in boxes]
    return Page(file.getvalue(), list(map(Written, labels[chosen].tolist(), written)))


def _places(
    number: int, width: int, height: int, rng: np.random.Generator
) -> list[tuple[int, int, int]]:
    """Where the digits are, line by line: left, top, side of a square; none touches another."""
    if number == 1:
        side = int(min(width, height) * rng.uniform(0.15, 0.7))
        room = 0.08 * min(width, height)  # so that turning the page leaves it on the page
        left, top = (rng.uniform(room, max(size - side - room, room)) for size in (width, height))
        return [(int(left), int(top), side)]
    lines = int(rng.integers(1, min(3, number) + 1))
    in_line = [len(part) for part in np.array_split(np.arange(number), lines)]
    cell = min(0.75 * width / max(in_line), 0.75 * height / lines / 1.3)
    cell *= rng.uniform(0.6, 1)
    left = rng.uniform(0.12 * width, 0.88 * width - cell * max(in_line))
    top = rng.uniform(0.12 * height, 0.88 * height - 1.3 * cell * lines)
    places = []
    for line, count in enumerate(in_line):
        for column in range(count):
            side = cell * rng.uniform(0.65, 0.8)
            across = left + cell * (column + rng.uniform(0, 0.12))
            down = top + cell * (1.3 * line + rng.uniform(0, 0.15))
            places.append((int(across), int(down), int(side)))
    return places


def _stroke(image: np.ndarray, side: int, pen: str, rng: np.random.Generator) -> Image.Image:
    """A digit of MNIST, `side` pixels high or wide, as coverage by ink."""
    rows, columns = (np.flatnonzero(image.max(axis)) for axis in (1, 0))
    image = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    large = Image.fromarray(np.pad(image, 2)).resize(
        [FINE * (size + 4) for size in image.shape[::-1]], Image.Resampling.BICUBIC
    )
    is_ink = np.array(large) > 127
    if pen == "thin":
        most = max(FINE * max(image.shape) * 0.016, FINE * max(image.shape) / side)
        reach = ndimage.distance_transform_edt(~skeletonize(is_ink))
        inside = most * rng.uniform(1, 1.5) - reach
    else:
        inside = ndimage.distance_transform_edt(is_ink) - ndimage.distance_transform_edt(~is_ink)
        inside += FINE * rng.uniform(0.3, 0.7) * (pen == "thick")
    coverage = Image.fromarray((np.clip(inside + 0.5, 0, 1) * 255).astype(np.uint8))
    rows, columns = (np.flatnonzero(np.array(coverage).max(axis)) for axis in (1, 0))
    coverage = coverage.crop((columns[0], rows[0], columns[-1] + 1, rows[-1] + 1))
    share = side / max(coverage.size)
    sizes = [max(2, round(size * share)) for size in coverage.size]
    return coverage.resize(sizes, Image.Resampling.BICUBIC if share > 1 else Image.Resampling.BOX)


def _colours(
    coloured: bool, dark: bool, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of the paper, the ink and the rules, linear in [0, 1]."""
    while coloured:
        paper, ink = rng.uniform(0.05, 0.95, 3), rng.uniform(0.05, 0.95, 3)
        if rng.random() < 0.5:  # of equal brightness
            ink += ((paper - ink) * (0.3, 0.59, 0.11)).sum()
        if (ink > 0).all() and (ink < 1).all() and np.abs(paper - ink).max() > 0.35:
            return paper, ink, paper + rng.uniform(0.3, 0.7) * (ink - paper)
    paper = rng.uniform(0.75, 0.95) * np.array([1, rng.uniform(0.96, 1), rng.uniform(0.88, 1)])
    kinds = [(0.1, 0.1, 0.12), (0.1, 0.15, 0.5), (0.3, 0.3, 0.32), (0.6, 0.1, 0.1), (0.4, 0.4, 0.4)]
    ink = np.array(kinds[rng.integers(len(kinds))])
    rules = np.array([(0.55, 0.7, 0.85), (0.2, 0.2, 0.2), (0.8, 0.5, 0.5)][rng.integers(3)])
    return (1 - paper, 1 - ink, 1 - rules) if dark else (paper, ink, rules)


def _light(width: int, height: int, shadow: bool, rng: np.random.Generator) -> np.ndarray:
    """How much light falls on the page, (H, W)."""
    down, across = np.mgrid[0:1:64j, 0:1:64j]
    light = 1 - rng.uniform(0, 0.12) * (across if rng.random() < 0.5 else 1 - down)
    if shadow:
        turn = rng.uniform(0, 2 * np.pi)
        depth = (across - 0.5) * np.cos(turn) + (down - 0.5) * np.sin(turn)
        edge, soft = rng.uniform(-0.3, 0.45), rng.choice([0.02, 0.1, 0.5])
        light = light * (1 - rng.uniform(0.3, 0.65) * np.clip((depth - edge) / soft, 0, 1))
    small = Image.fromarray(light.astype(np.float32))
    return np.array(small.resize((width, height), Image.Resampling.BICUBIC))


def _frame(picture: Image.Image, rng: np.random.Generator) -> None:
    """Draws the black of a scanner round the page, on one to four sides, a little askew."""
    width, height = picture.size
    page = Image.new("L", (width, height))
    sides = rng.random(4) < 0.7
    sides[rng.integers(4)] = True
    left, top, right, bottom = sides * rng.uniform(0.005, 0.06, 4) * min(width, height)
    askew = rng.uniform(-0.01, 0.01, 4) * min(width, height) * sides
    corners = [
        (left + askew[0], top - askew[1]),
        (width - right + askew[2], top + askew[1]),
        (width - right - askew[2], height - bottom + askew[3]),
        (left - askew[0], height - bottom - askew[3]),
    ]
    ImageDraw.Draw(page).polygon(corners, 255)
    black = Image.new("RGB", picture.size, (int(rng.integers(0, 25)),) * 3)
    picture.paste(black, mask=ImageChops.invert(page))


def _bytes(colour: np.ndarray) -> tuple[int, ...]:
    return tuple(int(value) for value in (colour * 255).round())


def _turned(
    box: tuple[int, int, int, int], angle: float, width: int, height: int
) -> tuple[float, float, float, float]:
    """A box, left, top, width and height, on the page that is turned about its middle."""
    turn = np.deg2rad(angle)
    left, top, across, down = box
    x = np.array([left, left + across, left, left + across]) - width / 2
    y = np.array([top, top, top + down, top + down]) - height / 2
    x, y = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    x, y = x + width / 2, y + height / 2
    return x.min(), y.min(), x.max(), y.max()
