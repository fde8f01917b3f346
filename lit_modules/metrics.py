"""A metric: the mean over the samples of an epoch."""

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
