"""Everything that is worth knowing about a network's answers on a test set."""

from typing import Any

from matplotlib.figure import Figure
from torch import Tensor
from torch.nn import functional as F
from torchmetrics.functional.classification import (
    multiclass_accuracy,
    multiclass_calibration_error,
    multiclass_confusion_matrix,
    multiclass_f1_score,
    multiclass_precision,
    multiclass_recall,
)

CALIBRATION_BINS = 15


def compute_metrics(logits: Tensor, labels: Tensor, classes: tuple[str, ...]) -> dict[str, Any]:
    """Exact metrics, as fractions, of logits (N, num_classes) for labels (N,).

    The calibration error is the expected one over 15 bins (Guo et al. 2017,
    https://arxiv.org/abs/1706.04599).

    Returns:
        `images`, `loss`, `accuracy`, `top_2_accuracy`, `calibration_error`, `classes` (for each its
        `precision`, `recall`, `f1` and number of `images`) and `confusion_matrix`, a row a class.
    """
    number = len(classes)
    logits = logits.double()
    confusion = multiclass_confusion_matrix(logits, labels, number)
    of_class = {"num_classes": number, "average": "none"}
    columns = zip(
        classes,
        multiclass_precision(logits, labels, **of_class).tolist(),
        multiclass_recall(logits, labels, **of_class).tolist(),
        multiclass_f1_score(logits, labels, **of_class).tolist(),
        confusion.sum(1).tolist(),
        strict=True,
    )
    return {
        "images": len(labels),
        "loss": F.cross_entropy(logits, labels).item(),
        "accuracy": multiclass_accuracy(logits, labels, number, average="micro").item(),
        "top_2_accuracy": multiclass_accuracy(
            logits, labels, number, average="micro", top_k=2
        ).item(),
        "calibration_error": multiclass_calibration_error(
            logits.softmax(1), labels, number, n_bins=CALIBRATION_BINS
        ).item(),
        "classes": {
            name: {"precision": precision, "recall": recall, "f1": f1, "images": images}
            for name, precision, recall, f1, images in columns
        },
        "confusion_matrix": confusion.tolist(),
    }


def draw_confusion_matrix(confusion: Tensor, classes: tuple[str, ...]) -> Figure:
    """A heat map of counts (num_classes, num_classes): rows are true, columns are predicted.

    Shades are shares of a row, so that rare classes count as much as frequent ones.
    """
    figure = Figure(figsize=(7, 6.4), layout="constrained")
    axes = figure.subplots()
    shares = confusion / confusion.sum(1, keepdim=True).clamp(min=1)
    axes.imshow(
        shares.sqrt().numpy(), cmap="Blues", vmin=0, vmax=1
    )  # the root shows single mistakes
    positions = range(len(classes))
    axes.set_xticks(
        positions, classes, rotation=45 if max(map(len, classes)) > 2 else 0, ha="center"
    )
    axes.set_yticks(positions, classes)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    for row in positions:
        for column in positions:
            if count := int(confusion[row, column]):
                color = "white" if shares[row, column] > 0.3 else "black"
                axes.text(column, row, count, ha="center", va="center", color=color, fontsize=9)
    return figure


def draw_class_accuracies(confusion: Tensor, classes: tuple[str, ...]) -> Figure:
    """A bar for each class: the share of its images that are recognised."""
    figure = Figure(figsize=(6, 0.4 * len(classes) + 0.8), layout="constrained")
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
