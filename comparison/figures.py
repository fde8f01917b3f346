"""The figures of a comparison: accuracy against cost, and learning curves."""

import math
import re
import statistics
import textwrap
import warnings
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator

from comparison.recipes import Recipe
from terminal.atomic import write_atomically
from terminal.errors import printable

LINE = 0.2  # inches of a legend
WIDTH = 8  # inches: 800 pixels of a README at 100 an inch
# Okabe and Ito's colours, which colour-blind people can tell apart; yellow is too pale for lines.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "^", "s", "D", "v", "P", "X", "*")
LINES = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)))
# Accuracies in percent; the axis of the learning curves is logarithmic in the error.
TICKS = (
    *(0, 50, 80, 90, 95, 98, 99, 99.5, 99.8, 99.9),  # tried first; the others fill gaps
    *(70, 85, 92, 94, 96, 97, 99.2, 99.4, 99.6, 99.7, 30, 60, 75, 88, 91, 93, 98.5, 99.3),
)


class Look(NamedTuple):
    """Plot style of a recipe: the color shows the network family, marker and line the recipe."""

    color: str
    marker: str
    line: str | tuple[int, tuple[float, ...]]


def write_figures(folder: Path, recipes: Sequence[Recipe]) -> list[str]:
    """Writes the figures and returns their names. Learning curves need a `metrics.csv`."""
    figures = {
        "accuracy_parameters.png": draw_accuracy(recipes, "parameters"),
        "accuracy_time.png": draw_accuracy(recipes, time_that_compares(recipes)),
        "learning_curves.png": draw_learning_curves(recipes),
    }
    drawn = {name: figure for name, figure in figures.items() if figure}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # drawn as a box
        for name, figure in drawn.items():
            write_atomically(folder / name, partial(figure.savefig, format="png"))
    return list(drawn)


def draw_accuracy(recipes: Sequence[Recipe], cost: str) -> Figure:
    """Test accuracy against cost, with one panel for each dataset.

    Args:
        recipes: The recipes to draw.
        cost: "parameters", "train_seconds" or "train_cpu_seconds".
    """
    unit, label = {
        "parameters": (1e6, "parameters (millions)"),
        "train_seconds": (60, "training time (minutes)"),
        "train_cpu_seconds": (60, "processor time of the training (minutes)"),
    }[cost]
    panels = _panels(recipes)

    def cost_of(recipe: Recipe) -> float:
        return max(recipe.mean(cost) / unit, 1e-3)  # a logarithmic axis has no zero

    figure, rows = _new_figure(panels.values(), 3.6)
    for axes, (dataset, shown) in zip(rows, panels.items(), strict=True):
        axes.set_title(textwrap.shorten(printable(dataset), 60), loc="left", parse_math=False)
        axes.set_xscale("log")
        axes.set_xlim(_wide_enough([cost_of(recipe) for recipe in recipes]))
        axes.margins(y=0.13)
        for recipe, look in zip(shown, _looks(shown, recipes), strict=True):
            axes.errorbar(
                cost_of(recipe),
                100 * recipe.mean("test_accuracy"),
                yerr=100 * (recipe.std("test_accuracy") or 0) or None,
                **{"color": look.color, "marker": look.marker, "markersize": 7},
                **{"linestyle": "", "elinewidth": 1.2, "label": _wrap(recipe)},
            )
        _add_legend(axes, [recipe.mean("test_accuracy") for recipe in shown])
        if len(shown) == 1:  # the default limits would exceed 100 %
            accuracy = 100 * shown[0].mean("test_accuracy")
            axes.set_ylim(accuracy - 1, min(accuracy + 1, 100))
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
        axes.set_ylabel("test accuracy (%)")
    rows[-1].set_xlabel(label)
    return figure


def time_that_compares(recipes: Sequence[Recipe]) -> str:
    """Processor time if nothing ran on a GPU: other load on the machine does not increase it."""
    results = [run.results for recipe in recipes for run in recipe.runs]
    on_processors = all(r["device"].startswith("cpu") and "train_cpu_seconds" in r for r in results)
    return "train_cpu_seconds" if on_processors else "train_seconds"


def draw_learning_curves(recipes: Sequence[Recipe]) -> Figure | None:
    """Validation accuracy of each epoch: mean and standard deviation over the seeds.

    Returns:
        The figure; None if no run has a `metrics.csv`.
    """
    panels = _panels([recipe for recipe in recipes if _epochs(recipe)])
    if not panels:
        return None
    figure, rows = _new_figure(panels.values(), 4.2)
    for axes, (dataset, shown) in zip(rows, panels.items(), strict=True):
        axes.set_title(textwrap.shorten(printable(dataset), 60), loc="left", parse_math=False)
        axes.set_yscale("function", functions=(_to_decades, _from_decades))
        ends = []
        for recipe, look in zip(shown, _looks(shown, recipes), strict=True):
            epochs = _epochs(recipe)
            curves = [run.val_accuracies for run in recipe.runs if run.val_accuracies]
            values = [[100 * curve[epoch] for curve in curves] for epoch in epochs]
            means = [statistics.fmean(v) for v in values]
            axes.plot(
                *(epochs, means),
                **{"color": look.color, "linestyle": look.line, "linewidth": 1.5},
                **{"marker": "o", "markersize": 3.5, "markevery": [-1], "label": _wrap(recipe)},
            )
            if len(curves) > 1:
                stds = [statistics.stdev(v) for v in values]
                low = [m - s for m, s in zip(means, stds, strict=True)]
                high = [min(m + s, 100) for m, s in zip(means, stds, strict=True)]
                axes.fill_between(epochs, low, high, color=look.color, alpha=0.15, linewidth=0)
            ends.append(means[-1])
        axes.yaxis.set_major_locator(FixedLocator(_ticks(axes)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
        axes.xaxis.set_major_locator(MaxNLocator(nbins=10, steps=(1, 2, 5, 10), integer=True))
        axes.margins(x=0.01)
        axes.set_ylabel("validation accuracy (%), by log of the error")
        _add_legend(axes, ends)
    rows[-1].set_xlabel("epoch")
    return figure


def _new_figure(panels: Collection[Sequence[Recipe]], height: float) -> tuple[Figure, list[Axes]]:
    """A figure with a column of panels, each at least `height` inches high, more for its legend."""
    lines = [sum(_wrap(recipe).count("\n") + 1 for recipe in shown) for shown in panels]
    heights = [max(height, LINE * number + 1) for number in lines]
    figure = Figure(figsize=(WIDTH, sum(heights)), dpi=200, layout="constrained", facecolor="white")
    rows = figure.subplots(len(heights), squeeze=False, height_ratios=heights)[:, 0]
    for axes in rows:
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[:].set_color("#888888")
        axes.tick_params(color="#888888")
        axes.grid(color="#e6e6e6", linewidth=0.6)
        axes.set_axisbelow(True)
    return figure, list(rows)


def _add_legend(axes: Axes, heights: Sequence[float]) -> None:
    """Puts a legend to the right of a panel, its entries sorted by the given heights."""
    handles, labels = axes.get_legend_handles_labels()
    highest_first = sorted(range(len(heights)), key=lambda index: -heights[index])
    legend = axes.legend(
        [handles[index] for index in highest_first],
        [labels[index] for index in highest_first],
        **{"loc": "center left", "bbox_to_anchor": (1.01, 0.5), "frameon": False},
    )
    for text in legend.get_texts():
        text.set_parse_math(False)


def _wide_enough(costs: Sequence[float]) -> tuple[float, float]:
    """Limits of a logarithmic axis with a margin, also for a single value."""
    low, high = (math.log10(end(costs)) for end in (min, max))
    margin = max(0.1 * (high - low), (0.7 - (high - low)) / 2)
    return 10 ** (low - margin), 10 ** (high + margin)


def _ticks(axes: Axes) -> list[float]:
    """Round accuracies that are not too close to each other on the axis."""
    low, high = axes.get_ylim()
    gap = 0.06 * (_to_decades(high) - _to_decades(low))
    ticks: list[float] = []
    for tick in TICKS:
        if low <= tick <= high and all(
            abs(_to_decades(tick) - _to_decades(t)) > gap for t in ticks
        ):
            ticks.append(tick)
    return sorted(ticks)


def _wrap(recipe: Recipe) -> str:
    """The recipe's name, wrapped to at most eight lines of 28 characters."""
    lines = textwrap.wrap(printable(recipe.name), 28, max_lines=8, placeholder=" ...")
    return "\n".join(lines) or "..."


def _panels(recipes: Iterable[Recipe]) -> dict[str, list[Recipe]]:
    panels: dict[str, list[Recipe]] = {}
    for recipe in recipes:
        panels.setdefault(recipe.dataset, []).append(recipe)
    return panels


def _family(recipe: Recipe) -> str:
    """The name of the network without its variant: vgg16 -> vgg, DenseNet -> densenet."""
    return re.match(r"[^\W\d_]*", recipe.net)[0].lower()


def _looks(shown: Sequence[Recipe], recipes: Iterable[Recipe]) -> list[Look]:
    """Plot styles of the recipes of a panel; a family has the same color in all panels."""
    families = sorted({_family(recipe) for recipe in recipes})
    looks, seen = [], Counter()
    for family in map(_family, shown):
        number, variant = families.index(family), seen[family]
        seen[family] += 1
        marker = MARKERS[(number + 3 * variant) % len(MARKERS)]
        looks.append(Look(COLORS[number % len(COLORS)], marker, LINES[variant % len(LINES)]))
    return looks


def _epochs(recipe: Recipe) -> list[int]:
    """The epochs that all runs with a learning curve have."""
    curves = [set(run.val_accuracies) for run in recipe.runs if run.val_accuracies]
    return sorted(set.intersection(*curves)) if curves else []


def _to_decades(accuracy: Any) -> Any:
    return -np.log10(np.maximum(100 - np.asarray(accuracy, dtype=float), 0.02))


def _from_decades(decades: Any) -> Any:
    return 100 - 10 ** -np.asarray(decades, dtype=float)
