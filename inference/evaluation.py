"""Everything that is worth knowing about a network's answers on a test set."""

from typing import Any

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
