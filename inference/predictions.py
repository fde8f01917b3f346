"""Predictions of images: as lines, as a CSV file, as a sheet of pictures."""

import csv
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from matplotlib.figure import Figure
from rich.progress import track
from torch import Tensor

from datamodules import InMemoryDataModule
from datamodules.image_files import ImageError
from inference.images import Inversion, read_image
from inference.logits import compute_logits
from lit_modules import LitClassifier
from terminal.atomic import write_atomically
from terminal.console import console
from terminal.errors import printable, warn

BATCH = 256  # files read at a time
EXAMPLES = 10  # of the test set
SHEET = 100  # images on a sheet
SHEET_COLUMNS = 10


@dataclass
class Prediction:
    """The most probable classes of an image, sorted by probability."""

    source: str  # the file, or the image's index in its test set
    classes: list[str]
    probabilities: list[float]
    actual: str | None = None

    @property
    def color(self) -> str:
        """Green if it is right, red if it is wrong, black without a true class."""
        if self.actual is None:
            return "black"
        return "tab:green" if self.actual == self.classes[0] else "tab:red"

    @property
    def line(self) -> str:
        actual = f', actual: "{self.actual}"' if self.actual else ""
        source = "" if self.actual else f"{self.source}: "
        line = f'{source}predicted: "{self.classes[0]}"{actual} ({self.probabilities[0]:.1%})'
        return printable(line)


Batch = tuple[list[str], Tensor, list[str] | None]  # sources, uint8 images (N, C, H, W), actual


def from_test_set(data: InMemoryDataModule) -> Iterator[Batch]:
    """The first images of the test set."""
    data.prepare_data()
    data.setup("test")
    images, labels = (values[:EXAMPLES] for values in data.splits["test"])
    sources = [str(index) for index in range(len(images))]
    yield sources, images, [data.classes[label] for label in labels]


def from_files(
    files: Sequence[Path], data: InMemoryDataModule, invert: Inversion
) -> Iterator[Batch]:
    """Reads files in batches; warns of those that are no images."""
    starts = range(0, len(files), BATCH)
    for start in track(starts, console=console, transient=True, disable=not console.is_terminal):
        sources, images = [], []
        for file in files[start : start + BATCH]:
            name = os.fsencode(file).decode(errors="backslashreplace")  # it can be any bytes
            try:
                images.append(read_image(file, data, invert))
                sources.append(name)
            except ImageError as error:
                warn(f"{name} is left out: {error}.")
        if images:
            yield sources, torch.stack(images), None


def predict(
    classifier: LitClassifier,
    data: InMemoryDataModule,
    images: Tensor,
    sources: Sequence[str],
    actual: Sequence[str] | None,
    top_k: int,
) -> list[Prediction]:
    """The `top_k` most probable classes of uint8 images (N, C, H, W)."""
    probabilities, indices = compute_logits(classifier, data, images).softmax(1).topk(top_k)
    answers = zip(
        sources,
        indices.tolist(),
        probabilities.tolist(),
        actual or [None] * len(sources),
        strict=True,
    )
    return [
        Prediction(source, [data.classes[index] for index in best], values, label)
        for source, best, values, label in answers
    ]


def write_csv(path: Path, predictions: Sequence[Prediction]) -> None:
    """Writes a row per image: file, true class, predicted classes with their probabilities."""
    top_k = len(predictions[0].classes) if predictions else 1
    head = ["file", "actual"]
    for rank in range(1, top_k + 1):
        head += [f"class_{rank}", f"probability_{rank}"]

    def write(beside: Path) -> None:
        with open(beside, "w", newline="", encoding="utf-8", errors="backslashreplace") as file:
            writer = csv.writer(file)
            writer.writerow(head)
            for prediction in predictions:
                pairs = zip(prediction.classes, prediction.probabilities, strict=True)
                best = [cell for name, value in pairs for cell in (name, f"{value:.6f}")]
                writer.writerow([prediction.source, prediction.actual or "", *best])

    write_atomically(path, write)


def draw_sheet(images: Iterable[Tensor], predictions: Sequence[Prediction]) -> Figure:
    """Draws the images (C, H, W), before preprocessing, each below its prediction."""
    predictions = predictions[:SHEET]
    columns = min(SHEET_COLUMNS, len(predictions))
    rows = -(-len(predictions) // columns)
    figure = Figure(figsize=(1.25 * columns, 1.6 * rows), layout="constrained")
    grid = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes in grid:
        axes.axis("off")
    for axes, image, prediction in zip(grid, images, predictions, strict=False):
        axes.imshow(image.permute(1, 2, 0).numpy(), cmap="gray", vmin=0, vmax=255)
        axes.set_title(
            f"{prediction.classes[0]}\n{prediction.probabilities[0]:.0%}",
            fontsize=9,
            color=prediction.color,
            parse_math=False,
        )
    return figure
