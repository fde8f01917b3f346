"""Metrics that are means over the samples of an epoch."""

import torch
from torch import Tensor
from torchmetrics import Metric


class SampleMean(Metric):
    """Mean over all samples of all processes, from the sums of their batches.

    In 64 bits, so that rounding hardly depends on how the samples are batched.
    """

    def __init__(self) -> None:
        super().__init__()
        has_64_bits = not torch.backends.mps.is_available()
        self.precise = torch.float64 if has_64_bits else torch.float32
        self.add_state("total", torch.zeros((), dtype=self.precise), dist_reduce_fx="sum")
        self.add_state("samples", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    def update(self, total: Tensor, samples: int) -> None:
        """Adds a sum () over so many samples."""
        # Training in bfloat16 converts all of a module's states.
        self.total = self.total.to(self.precise) + total
        self.samples += samples

    def compute(self) -> Tensor:
        return self.total / self.samples
