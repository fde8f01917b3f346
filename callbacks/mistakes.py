"""The mistakes that a network makes with the highest confidence."""

from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor
from torchmetrics.utilities.distributed import gather_all_tensors


class Mistakes(NamedTuple):
    """Mistakes, the most confident first: floats (N,), classes (N,) twice, images (N, C, H, W)."""

    confidences: Tensor
    predicted: Tensor
    actual: Tensor
    images: Tensor


class ConfidentMistakes:
    """The most confident mistakes of all batches and processes, kept on the device.

    Args:
        size: Number of mistakes to keep.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.reset()

    def reset(self) -> None:
        self._found: Mistakes | None = None

    def update(self, probabilities: Tensor, images: Tensor, labels: Tensor) -> None:
        """Adds a batch: probabilities (N, num_classes), images (N, C, H, W), labels (N,)."""
        confidences, predicted = probabilities.max(1)
        # Correct predictions stay in, ranked last: counting the mistakes would wait for the device.
        confidences = torch.where(predicted == labels, -1.0, confidences)
        batch = Mistakes(confidences, predicted, labels, images)
        if self._found is not None:
            batch = Mistakes(*map(torch.cat, zip(self._found, batch, strict=True)))
        self._found = _first(batch, self.size)

    def compute(self) -> Mistakes:
        """The mistakes of all processes, on the CPU."""
        assert self._found is not None, "update comes first"
        found = self._found
        if dist.is_available() and dist.is_initialized():
            found = Mistakes(*(torch.cat(gather_all_tensors(values)) for values in found))
        best = _first(found, self.size)
        is_wrong = best.confidences >= 0
        return Mistakes(*(values[is_wrong].cpu() for values in best))


def _first(mistakes: Mistakes, size: int) -> Mistakes:
    best = mistakes.confidences.topk(min(size, len(mistakes.confidences))).indices
    return Mistakes(*(values[best] for values in mistakes))
