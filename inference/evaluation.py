"""Metrics of a network on a test set."""

from typing import Any

import torch
from torch import Tensor
from torchmetrics.functional.classification import (
    multiclass_accuracy,
    multiclass_calibration_error,
    multiclass_confusion_matrix,
    multiclass_f1_score,
    multiclass_precision,
    multiclass_recall,
)

from datamodules import InMemoryDataModule
from lit_modules import LitClassifier
from lit_modules.metrics import SampleMean, probabilities

CALIBRATION_BINS = 15


@torch.no_grad()
def answer_test_set(
    classifier: LitClassifier, data: InMemoryDataModule
) -> tuple[Tensor, Tensor, float]:
    """Logits (N, num_classes), labels (N,), both on the CPU, and mean loss of the test set.

    Computed in 32 bits and in the data module's batches, like the test at the end of a training:
    bit-identical on the same device.
    """
    device = next(classifier.parameters()).device
    loss = SampleMean().to(device)
    parts = []
    preprocessing = data.preprocessing.to(device)
    for images, labels in data.test_dataloader():
        images, labels = images.to(device), labels.to(device)
        logits = classifier(preprocessing(images.float() / 255))
        loss.update(classifier.loss(logits, labels) * len(labels), len(labels))
        parts.append((logits.cpu(), labels.cpu()))
    logits, labels = map(torch.cat, zip(*parts, strict=True))
    return logits, labels, loss.compute().item()


def measure_added(classifier: LitClassifier, logits: Tensor, labels: Tensor) -> dict[str, float]:
    """The metrics that a training has added (`model.metrics`), by their names."""
    found = {}
    for name in classifier.added_metrics:
        metric = classifier.metrics[f"test/{name}"].cpu()
        metric.update(probabilities(logits), labels)
        found[name] = metric.compute().item()
        metric.reset()
    return found


def compute_metrics(
    logits: Tensor, labels: Tensor, classes: tuple[str, ...], loss: float
) -> dict[str, Any]:
    """Exact metrics, as fractions, from logits (N, num_classes) and labels (N,).

    The calibration error is the ECE over 15 bins (Guo et al. 2017,
    https://arxiv.org/abs/1706.04599).

    Returns:
        `images`, `loss`, `accuracy`, `top_2_accuracy`, `calibration_error`, `classes` (for each,
        `precision`, `recall`, `f1` and number of `images`) and `confusion_matrix` (row: label).
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
        "loss": loss,
        "accuracy": confusion.trace().item() / len(labels),
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
