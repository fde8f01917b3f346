"""Means over the samples of an epoch, and metrics of torchmetrics by their names."""

import re
import warnings
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torchmetrics import Metric


class SampleMean(Metric):
    """Mean over all samples of all processes, from sums over batches.

    Computed in 64 bits, so that rounding hardly depends on the batches.
    """

    def __init__(self) -> None:
        super().__init__()
        has_64_bits = not torch.backends.mps.is_available()
        self.precise = torch.float64 if has_64_bits else torch.float32
        self.add_state("total", torch.zeros((), dtype=self.precise), dist_reduce_fx="sum")
        self.add_state("samples", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    def update(self, total: Tensor, samples: int) -> None:
        """Adds `total`, the sum over `samples` samples."""
        # Training in bfloat16 also converts the states of metrics.
        self.total = self.total.to(self.precise) + total
        self.samples += samples

    def compute(self) -> Tensor:
        return self.total / self.samples


def probabilities(logits: Tensor) -> Tensor:
    """Class probabilities of logits (N, num_classes), in 32 bits at least."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32)).softmax(1)


def build_metrics(makers: Sequence[Callable[[int], Metric]], num_classes: int) -> dict[str, Metric]:
    """Builds metrics of class probabilities (N, num_classes) and labels (N,), by their names.

    A name is that of the class: `MulticlassF1Score` is `f1_score`, a second one `f1_score_2`.

    Args:
        makers: What makes metrics from the number of classes, or metrics.
        num_classes: Number of classes.

    Raises:
        ValueError: If one is no metric, does not take these, or gives more than one number.
    """
    found: dict[str, Metric] = {}
    for make in makers:
        try:
            metric = make if isinstance(make, Metric) else make(num_classes)
            kind = type(metric).__name__
            with warnings.catch_warnings():  # of so few samples
                warnings.simplefilter("ignore")
                metric.update(torch.eye(num_classes), torch.arange(num_classes))
                value = metric.compute()
            metric.reset()
        except (ValueError, TypeError, RuntimeError, AttributeError) as error:
            raise ValueError(
                "metrics must be made from the number of classes, and take probabilities "
                f"(N, {num_classes}) and labels (N,), as torchmetrics.classification."
                f"MulticlassF1Score: {error}"
            ) from error
        if not isinstance(value, Tensor) or value.numel() != 1:
            raise ValueError(f"metrics: {kind} must give one number, with average macro perhaps")
        short = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", kind.removeprefix("Multiclass")).lower()
        same = sum(re.fullmatch(rf"{short}(_\d+)?", name) is not None for name in found)
        found[f"{short}_{same + 1}" if same else short] = metric
    return found
