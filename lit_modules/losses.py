"""The cross-entropy with weights of the classes."""

import torch
from torch import Tensor
from torch.nn import functional as F


def weighted_cross_entropy(
    logits: Tensor, labels: Tensor, weights: Tensor, label_smoothing: float
) -> Tensor:
    """Mean over the samples of weight x cross-entropy, a scalar.

    Divided by the samples and not, as torch does, by their weights: so a step is the same however
    its batch is divided over processes and micro-batches.

    Args:
        logits: (N, num_classes).
        labels: Classes (N,), or probabilities (N, num_classes).
        weights: (num_classes,).
        label_smoothing: Share of the target that is spread evenly over all classes.
    """
    weights = weights.to(logits.dtype)
    options = {"weight": weights, "label_smoothing": label_smoothing, "reduction": "sum"}
    return F.cross_entropy(logits, labels, **options) / len(labels)


def balanced_weights(counts: Tensor) -> Tensor:
    """Weights by which all classes count the same, with a mean of 1 over the samples.

    Args:
        counts: Samples of each class (num_classes,); a class without any gets 0.
    """
    weights = counts.sum() / ((counts > 0).sum() * counts)
    return torch.where(counts > 0, weights, 0.0)


def checked_weights(weights: list[float], num_classes: int) -> Tensor:
    """Weights of the classes as a tensor (num_classes,).

    Raises:
        ValueError: If they are not one number of at least 0 for each class.
    """
    found = torch.tensor(weights, dtype=torch.float32)
    if found.shape != (num_classes,) or not (found.isfinite() & (found >= 0)).all():
        raise ValueError(
            f"class_weights must be {num_classes} numbers of at least 0, one for each class, got "
            f"{weights}"
        )
    return found
