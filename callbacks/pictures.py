"""Plots of a network's filters, metrics by class and mistakes."""

import warnings
from functools import partial
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.utils import make_grid

from callbacks.mistakes import Mistakes
from datamodules import InMemoryDataModule
from terminal.atomic import write_atomically

FILTER_PIXELS = 48
LARGEST = 15  # inches, of a figure's side
MOST_CLASSES = 40  # with names and counts in a confusion matrix


def save_figure(figure: Figure, path: Path, dpi: float) -> None:
    """Writes a figure atomically, in the format that its file extension names."""
    ending = path.suffix[1:].lower()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # drawn as a box
        write_atomically(path, partial(figure.savefig, format=ending, dpi=dpi))


def draw_confusion_matrix(confusion: Tensor, classes: tuple[str, ...]) -> Figure:
    """A heat map of counts (num_classes, num_classes): rows are true, columns are predicted.

    Colors show fractions of a row, so that rare classes are as visible as frequent ones.
    """
    side = min(max(6.4, 0.4 * len(classes)), LARGEST)
    figure = Figure(figsize=(side + 0.6, side), layout="constrained")
    axes = figure.subplots()
    shares = confusion / confusion.sum(1, keepdim=True).clamp(min=1)
    axes.imshow(
        shares.sqrt().numpy(), cmap="Blues", vmin=0, vmax=1
    )  # the square root makes single mistakes visible
    positions = range(len(classes))
    if has_room := len(classes) <= MOST_CLASSES:
        rotation = 45 if max(map(len, classes)) > 2 else 0
        axes.set_xticks(positions, classes, rotation=rotation, ha="center", parse_math=False)
        axes.set_yticks(positions, classes, parse_math=False)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    for row in positions if has_room else ():
        for column in positions:
            if count := int(confusion[row, column]):
                color = "white" if shares[row, column] > 0.3 else "black"
                axes.text(column, row, count, ha="center", va="center", color=color, fontsize=9)
    return figure


def draw_class_accuracies(confusion: Tensor, classes: tuple[str, ...]) -> Figure:
    """A bar chart of the accuracy on each class."""
    height = min(0.4 * len(classes) + 0.8, LARGEST * 2)
    figure = Figure(figsize=(6, height), layout="constrained")
    axes = figure.subplots()
    shares = (confusion.diag() / confusion.sum(1).clamp(min=1)).tolist()
    axes.barh(classes, shares, color="tab:blue", height=0.7)
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_xticks([])
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    for row, share in enumerate(shares):
        inside = share > 0.5
        axes.text(
            *(share + (-0.01 if inside else 0.01), row, f"{share:.1%}"),
            va="center",
            ha="right" if inside else "left",
            color="white" if inside else "black",
        )
    return figure


def draw_mistakes(mistakes: Mistakes, data: InMemoryDataModule) -> Figure:
    """The images, each with its predicted and its true class."""
    number = max(1, len(mistakes.images))
    columns, rows = min(8, number), -(-number // 8)
    figure = Figure(figsize=(1.3 * columns, 1.6 * rows))
    # One Axes for all images: one for each image takes five times as long to draw.
    axes = figure.add_axes((0, 0, 1, 1))
    axes.axis("off")
    if not len(mistakes.images):
        axes.text(0.5, 0.5, "no mistakes", ha="center", va="center")
        return figure
    images = visible(mistakes.images, data).permute(0, 2, 3, 1).numpy()
    told = zip(mistakes.confidences, mistakes.predicted, mistakes.actual, strict=True)
    for index, (confidence, predicted, actual) in enumerate(told):
        row, column = divmod(index, columns)
        box = (column + 0.04, column + 0.96, row + 0.98, row + 0.24)
        axes.imshow(images[index], "gray", vmin=0, vmax=1, extent=box, aspect="auto")
        text = f"{data.classes[predicted]} {confidence:.0%}\nis {data.classes[actual]}"
        axes.text(column + 0.5, row + 0.22, text, ha="center", va="bottom", fontsize=9)
    axes.set(xlim=(0, columns), ylim=(rows, 0))
    return figure


def visible(images: Tensor, data: InMemoryDataModule) -> Tensor:
    """Undoes the normalisation of images (N, C, H, W); a repeated gray channel is shown once."""
    images = images[:, : data.native_channels].float().cpu()
    mean, std = (torch.tensor(value).view(-1, 1, 1) for value in (data.mean, data.std))
    return (images * std + mean).clamp(0, 1)


def first_filters(net: nn.Module) -> Tensor | None:
    """The kernels of the first convolution as one image, each from black to white, enlarged."""
    convolution = next((m for m in net.modules() if isinstance(m, nn.Conv2d)), None)
    if convolution is None or max(convolution.kernel_size) == 1:
        return None
    kernels = convolution.weight.detach().float().cpu()
    if kernels.shape[1] != 3:  # only RGB kernels are shown in colour
        kernels = kernels.mean(1, keepdim=True)
    scale = max(1, FILTER_PIXELS // kernels.shape[-1])
    kernels = F.interpolate(kernels, scale_factor=scale, mode="nearest")
    return make_grid(kernels, nrow=8, padding=4, pad_value=1, normalize=True, scale_each=True)
