"""Datasets in memory, and samplers that divide them into batches."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, DistributedSampler, SequentialSampler

from datamodules.preprocessing import one_thread_if_small


class Split(NamedTuple):
    """Images and labels in memory: uint8 (N, C, H, W) and int64 (N,)."""

    images: Tensor
    labels: Tensor

    def take(self, indices: Tensor) -> "Split":
        return Split(self.images[indices], self.labels[indices])


class ImagesInMemory(Dataset):
    """A split as a dataset whose batches are sliced by one indexing operation.

    Args:
        split: The images and labels. They may be shared or memory-mapped.
    """

    def __init__(self, split: Split) -> None:
        self.images = split.images.contiguous()  # or each batch would copy them all
        self.labels = split.labels.contiguous()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int | Tensor) -> tuple[Tensor, Tensor]:
        """One image (C, H, W) and its label; or, of an index tensor (N,), a batch."""
        if isinstance(index, Tensor):
            return self.__getitems__(index)
        return self.images[index], self.labels[index]

    def __getitems__(self, indices: Tensor | Sequence[int]) -> tuple[Tensor, Tensor]:
        """A batch: (N, C, H, W) and (N,)."""
        chosen = torch.as_tensor(indices, dtype=torch.int64)
        elements = len(chosen) * self.images.shape[1:].numel()
        with one_thread_if_small(elements, self.images.device):
            return self.images.index_select(0, chosen), self.labels.index_select(0, chosen)


class GlobalBatchSampler(DistributedSampler):
    """Yields this process's share of each batch of an epoch, as index tensors.

    The order is a function of (seed, epoch) alone. The global batch of each optimizer step is cut
    from it first. It is divided second: over the micro-batches whose gradients are accumulated, and
    each of those over the processes. So a step sees the same samples however it is divided. Every
    sample comes exactly once an epoch. The last two global batches share what is left for them
    evenly: no step is taken on a handful of samples, which would upset batch normalisation.

    Shares of a batch differ by one sample at most. One is empty where a batch has fewer samples
    than shares.

    Args:
        num_samples: Size of the dataset.
        batch_size: Samples of a global batch: of one optimizer step over all processes.
        shuffle: Whether epochs are permuted.
        seed: Seed of the permutations.
        rank: Index of this process.
        world_size: Number of processes.
        accumulate: Micro-batches of a step, for each process.
    """

    def __init__(
        self,
        num_samples: int,
        batch_size: int,
        shuffle: bool = False,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        accumulate: int = 1,
    ) -> None:
        # The Trainer does not replace a DistributedSampler.
        super().__init__(range(num_samples), world_size, rank, shuffle, seed)
        self.batch_size = batch_size
        self.accumulate = accumulate
        self.steps = -(-num_samples // batch_size)

    def samples_of_step(self, step: int) -> int:
        """Number of samples of a global batch, by its index in the epoch."""
        if self.steps == 1 or step < self.steps - 2:
            return min(self.batch_size, len(self.dataset))
        left = len(self.dataset) - (self.steps - 2) * self.batch_size
        return -(-left // 2) if step == self.steps - 2 else left // 2

    def __len__(self) -> int:
        return self.steps * self.accumulate

    def __iter__(self) -> Iterator[Tensor]:
        for batch in self._order().split([self.samples_of_step(i) for i in range(self.steps)]):
            shares = batch.tensor_split(self.accumulate * self.num_replicas)
            yield from shares[self.rank :: self.num_replicas]

    def _order(self) -> Tensor:
        if not self.shuffle:
            return torch.arange(len(self.dataset))
        state = np.random.SeedSequence((self.seed, self.epoch)).generate_state(1, np.uint64)
        generator = torch.Generator().manual_seed(int(state[0]))
        return torch.randperm(len(self.dataset), generator=generator)


class BatchesInOrder(GlobalBatchSampler, SequentialSampler):
    """Batches in order; Lightning's `overfit_batches` asks for this type of sampler."""


def choose_stratified(labels: Tensor, number: int, seed: int) -> Tensor:
    """Chooses samples, of each class its share, by `seed`: a mask (N,) of int64 labels (N,)."""
    generator = torch.Generator().manual_seed(seed)
    counts = labels.bincount()
    shares = counts * number / len(labels)
    quota = shares.floor().long()
    # Largest remainder: what rounding down leaves over goes to the classes nearest to one more.
    quota[(shares - quota).argsort(descending=True, stable=True)[: number - int(quota.sum())]] += 1
    is_chosen = torch.zeros(len(labels), dtype=torch.bool)
    for label, size in enumerate(quota.tolist()):
        members = (labels == label).nonzero().flatten()
        is_chosen[members[torch.randperm(len(members), generator=generator)[:size]]] = True
    return is_chosen


def stratified_split(split: Split, held_out: int, seed: int) -> tuple[Split, Split]:
    """Holds out `held_out` samples, of each class its share, chosen by `seed`.

    Returns:
        The rest and the held-out samples, each in the order of `split`.
    """
    is_held_out = choose_stratified(split.labels, held_out, seed)
    return split.take(~is_held_out), split.take(is_held_out)
