"""Labels beside what they name, in place of a legend."""

import itertools
import math
from collections.abc import Sequence
from random import Random
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.lines import Line2D
from matplotlib.text import Annotation, Text

LINE = 0.17  # inches, of text
COMPASS = (
    *((1, 0), (-1, 0), (0, 1), (0, -1), (0.8, 0.8), (-0.8, 0.8), (0.8, -0.8), (-0.8, -0.8)),
    *((0.4, 0.9), (-0.4, 0.9), (0.4, -0.9), (-0.4, -0.9)),
)
# Where a label may stand, in points from its point: beside it, or further off, on a thin line.
OFFSETS = [(x * r, y * r) for r in (7, 16, 26, 38, 52, 68) for x, y in COMPASS]
ATTEMPTS, SWEEPS = 8, 4  # a second for a dozen labels


class End(NamedTuple):
    """Where a learning curve ends, and what it is of."""

    epoch: int
    accuracy: float
    label: list[str]
    color: str


def label_ends(axes: Axes, ends: Sequence[End]) -> None:
    """Names the curves in a column to their right, each as near to its end as the others let it."""
    inches = axes.get_subplotspec().get_gridspec().get_height_ratios()
    panel = inches[axes.get_subplotspec().rowspan.start] - 0.7  # without title and labels
    heights = [LINE * len(end.label) / panel for end in ends]
    axes.autoscale_view()
    to_axes = axes.transData - axes.transAxes
    starts = [to_axes.transform((end.epoch, end.accuracy)) for end in ends]
    wanted = [y for _, y in starts]
    order = sorted(range(len(ends)), key=lambda i: wanted[i])
    centers = dict(enumerate(wanted))
    for before, i in itertools.pairwise(order):  # upwards, until nothing overlaps
        centers[i] = max(centers[i], centers[before] + (heights[before] + heights[i]) / 2)
    ceiling = 1.0
    for i in reversed(order):  # and back down from the top
        centers[i] = min(centers[i], ceiling - heights[i] / 2)
        ceiling = centers[i] - heights[i] / 2
    for i, end in enumerate(ends):
        x, y = starts[i]
        line = Line2D((x, 1, 1.05), (y, y, centers[i]), transform=axes.transAxes)
        line.set(color=end.color, linewidth=0.8, linestyle=(0, (1, 2)), clip_on=False)
        axes.add_artist(line)
        label = "\n".join(end.label)
        place = {"va": "center", "transform": axes.transAxes}
        axes.text(1.06, centers[i], label, parse_math=False, **place)


def label_points(axes: Axes, labels: Sequence[str]) -> None:
    """Names each point where there is most room beside it."""
    figure = axes.figure
    figure.draw_without_rendering()  # lays the panels out
    figure.set_layout_engine("none")
    renderer = FigureCanvasAgg(figure).get_renderer()
    pixels = figure.dpi / 72  # in a point
    marks, places, texts = [], [], []
    for container, label in zip(axes.containers, labels, strict=True):
        point = axes.transData.transform(container.lines[0].get_xydata()[0])
        marks.append([*(point - 5 * pixels), *(point + 5 * pixels)])
        for bars in container.lines[2]:
            marks.append(bars.get_window_extent(renderer).padded(2 * pixels, pixels).extents)
        text = axes.annotate(
            label,
            point,
            xycoords="figure pixels",
            xytext=(0, 0),
            textcoords="offset points",
            parse_math=False,
            arrowprops={"arrowstyle": "-", "color": "#999999", "linewidth": 0.6, "shrinkB": 4},
        )
        texts.append(text)
        places.append([_place(text, offset, renderer) for offset in OFFSETS])
    panel = np.array([axes.bbox.extents])
    # Each label in turn makes way for the others. Which comes out best depends on the turns.
    random = Random(0)
    outcomes = []
    for _ in range(ATTEMPTS):
        chosen = [0] * len(texts)
        total = 0.0
        for _ in range(SWEEPS):
            total = 0.0
            for i in random.sample(range(len(texts)), len(texts)):
                others = [places[j][chosen[j]] for j in range(len(texts)) if j != i]
                taken = np.vstack([marks, *others])
                costs = [_cost(place, taken, panel) for place in places[i]]
                chosen[i] = int(np.argmin(costs))
                total += costs[chosen[i]]
        outcomes.append((total, chosen))
    for text, place, choice in zip(texts, places, min(outcomes)[1], strict=True):
        _place(text, OFFSETS[choice], renderer)
        text.arrow_patch.set_visible(len(place[choice]) > 1)


def _place(text: Annotation, offset: tuple[float, float], renderer: RendererAgg) -> np.ndarray:
    """Moves a label, and returns the boxes (n, 4), in pixels, of it and the line to its point."""
    x, y = offset
    text.set_position(offset)
    text.set_horizontalalignment("left" if x > 0 else "right" if x < 0 else "center")
    text.set_verticalalignment("bottom" if y > 0 else "top" if y < 0 else "center_baseline")
    text.update_positions(renderer)
    pixels = text.figure.dpi / 72  # in a point
    room = [Text.get_window_extent(text, renderer).padded(2 * pixels, pixels).extents]
    distance = math.hypot(x, y)
    for along in range(10, int(distance), 3):  # a label that is near needs no line
        on_line = text.xy + np.array(offset) * (along / distance * pixels)
        room.append([*(on_line - 2 * pixels), *(on_line + 2 * pixels)])
    return np.array(room)


def _cost(place: np.ndarray, taken: np.ndarray, panel: np.ndarray) -> float:
    """How bad a place for a label is: what it covers, what of it is cut off, how far it is."""
    cut_off = np.prod(place[0, 2:] - place[0, :2]) - _overlap(place[:1], panel)
    return round(3 * _overlap(place, taken) + 3 * cut_off + 10 * len(place), 3)


def _overlap(some: np.ndarray, others: np.ndarray) -> float:
    """The area that boxes (n, 4) share with others (m, 4), in square pixels."""
    low = np.maximum(some[:, None, :2], others[None, :, :2])
    high = np.minimum(some[:, None, 2:], others[None, :, 2:])
    return (high - low).clip(min=0).prod(-1).sum()
