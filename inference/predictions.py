"""Predictions of images: as lines, as a CSV file, as a sheet of pictures."""

import csv
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from rich.progress import track

from datamodules import InMemoryDataModule
from datamodules.image_files import ImageError, quiet_decoders
from inference.digits import Count
from inference.images import Shown, read_file
from inference.ink import Inversion
from inference.logits import compute_logits
from lit_modules import LitClassifier
from terminal.atomic import write_atomically
from terminal.console import console
from terminal.errors import UserError, printable, warn

BATCH = 256  # files read at a time
EXAMPLES = 10  # of the test set
SHEET = 100  # images on a sheet
SHEET_COLUMNS = 10


@dataclass
class Prediction:
    """The most probable classes of an image, sorted by probability; none where it shows nothing."""

    shown: Shown
    classes: list[str]
    probabilities: list[float]

    @property
    def color(self) -> str:
        """Green if it is right, red if it is wrong, black without a true class."""
        if self.shown.actual is None or not self.classes:
            return "black"
        return "tab:green" if self.shown.actual == self.classes[0] else "tab:red"

    @property
    def without_pictures(self) -> "Prediction":
        """What the table needs of it, so that thousands fit into memory."""
        return replace(self, shown=replace(self.shown, image=None, page=None))

    @property
    def line(self) -> str:
        shown = self.shown
        source = f"{shown.source}, {shown.number}" if shown.number else shown.source
        if not self.classes:
            return printable(f"{source}: no prediction: {shown.note}")
        actual = f', actual: "{shown.actual}"' if shown.actual else ""
        source = "" if shown.actual else f"{source}: "
        note = f", {shown.note}" if shown.note else ""
        line = f'{source}predicted: "{self.classes[0]}"{actual} ({self.probabilities[0]:.1%}){note}'
        return printable(line)


def from_test_set(data: InMemoryDataModule) -> Iterator[list[Shown]]:
    """The first images of the test set, or, if it is sorted by class, some from all over it."""
    data.prepare_data()
    data.setup("test")
    images, labels = data.splits["test"]
    number = min(EXAMPLES, len(labels))
    is_sorted = bool((labels.diff() >= 0).all())
    last = len(labels) - 1 if is_sorted else number - 1
    chosen = torch.linspace(0, last, number).round().long().tolist()
    yield [Shown(str(index), images[index], data.classes[labels[index]]) for index in chosen]


def from_files(
    files: Sequence[Path], data: InMemoryDataModule, invert: Inversion, count: Count
) -> Iterator[list[Shown]]:
    """Reads files in batches; warns of those that are no images."""
    if invert != "auto" and (data.margin is None or data.native_channels == 3):
        raise UserError(f"--invert is for drawings, and {data.name} are photographs: leave it out.")
    starts, hidden = range(0, len(files), BATCH), not console.is_terminal
    for start in track(starts, "predicting", console=console, transient=True, disable=hidden):
        found = []
        for file in files[start : start + BATCH]:
            try:
                with quiet_decoders():
                    found += read_file(file, data, invert, count)
            except ImageError as error:
                name = os.fsencode(file).decode(errors="backslashreplace")
                warn(f"{name} is left out: {error}.")
        if found:
            yield found


def predict(
    classifier: LitClassifier, data: InMemoryDataModule, batch: Sequence[Shown], top_k: int
) -> list[Prediction]:
    """The `top_k` most probable classes of each image; none of what has no image."""
    images = [shown.image for shown in batch if shown.image is not None]
    answers: Iterator[tuple[list[int], list[float]]] = iter(())
    if images:
        logits = compute_logits(classifier, data, torch.stack(images))
        probabilities, indices = logits.softmax(1).topk(top_k)
        answers = zip(indices.tolist(), probabilities.tolist(), strict=True)
    predictions = []
    for shown in batch:
        best, values = next(answers) if shown.image is not None else ([], [])
        predictions.append(Prediction(shown, [data.classes[index] for index in best], values))
    return predictions


def write_csv(path: Path, predictions: Sequence[Prediction], top_k: int) -> None:
    """Writes a row per image: file, true class, predicted classes with their probabilities.

    Then where it is in the file, in pixels, and what one should know of it.
    """
    head = ["file", "actual"]
    for rank in range(1, top_k + 1):
        head += [f"class_{rank}", f"probability_{rank}"]
    head += ["left", "top", "right", "bottom", "note"]

    def write(beside: Path) -> None:
        with open(beside, "w", newline="", encoding="utf-8", errors="backslashreplace") as file:
            writer = csv.writer(file)
            writer.writerow(head)
            for prediction in predictions:
                shown = prediction.shown
                pairs = zip(prediction.classes, prediction.probabilities, strict=True)
                best = [cell for name, value in pairs for cell in (name, f"{value:.6f}")]
                best = best or [""] * (2 * top_k)
                box = shown.box or [""] * 4
                writer.writerow([shown.source, shown.actual or "", *best, *box, shown.note])

    write_atomically(path, write)


def draw_sheet(predictions: Sequence[Prediction]) -> Figure:
    """Draws what the network sees, below its prediction; beside a photograph what is in it."""
    cells: list[tuple[np.ndarray, str, str]] = []
    for prediction in predictions:
        shown = prediction.shown
        if shown.page is not None:
            name = os.path.basename(shown.source)
            cells.append(
                (np.array(shown.page), name if len(name) < 16 else f"…{name[-14:]}", "gray")
            )
        if prediction.classes:
            title = f"{prediction.classes[0]}\n{prediction.probabilities[0]:.0%}"
            cells.append((shown.image.permute(1, 2, 0).numpy(), title, prediction.color))
        elif shown.page is None:
            cells.append((np.zeros((1, 1, 1), np.uint8), "nothing", "black"))
    cells = cells[:SHEET]
    columns = min(SHEET_COLUMNS, len(cells))
    rows = -(-len(cells) // columns)
    figure = Figure(figsize=(1.25 * columns, 1.6 * rows), layout="constrained")
    grid = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes in grid:
        axes.axis("off")
    for axes, (image, title, color) in zip(grid, cells, strict=False):
        axes.imshow(image, cmap="gray", vmin=0, vmax=255)
        axes.set_title(title, fontsize=9, color=color, parse_math=False)
    return figure
