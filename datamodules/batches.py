"""Images in memory, and which of them make up a batch."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler


class Split(NamedTuple):
    """Images and labels in memory: uint8 (N, C, H, W) and int64 (N,)."""

    images: Tensor
    labels: Tensor

    def take(self, indices: Tensor) -> "Split":
        return Split(self.images[indices], self.labels[indices])


class ImagesInMemory(Dataset):
    """A split as a dataset whose batches are cut by one indexing operation."""

    def __init__(self, split: Split) -> None:
        self.images, self.labels = split

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.images[index], self.labels[index]

    def __getitems__(self, indices: Tensor | Sequence[int]) -> tuple[Tensor, Tensor]:
        indices = torch.as_tensor(indices)
        # Ten times as fast as self.images[indices].
        return self.images.index_select(0, indices), self.labels.index_select(0, indices)


class GlobalBatchSampler(Sampler[Tensor]):
    """This process's share of each batch of an epoch, as index tensors.

    The order is a function of (seed, epoch) alone. Each batch is cut from it first and divided over
    the processes second, so that a step sees the same samples on any number of them. Every sample
    comes exactly once an epoch. The last two batches share what is left for them evenly: no
    step is taken on a handful of samples, which would upset batch normalisation.

    Args:
        num_samples: Size of the dataset.
        batch_size: Samples of a batch over all processes.
        shuffle: Whether epochs are permuted.
        seed: Seed of the permutations.
        rank: Index of this process.
        world_size: Number of processes.
    """

    def __init__(
        self,
        num_samples: int,
        batch_size: int,
        shuffle: bool = False,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.num_samples = num_samples
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.epoch = 0

    @property
    def sampler(self) -> "GlobalBatchSampler":
        """Where Lightning looks for the `set_epoch` of a batch sampler."""
        return self

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-self.num_samples // self.batch_size)

    def __iter__(self) -> Iterator[Tensor]:
        for batch in self._global_batches():
            yield batch.tensor_split(self.world_size)[self.rank]

    def _global_batches(self) -> list[Tensor]:
        order = torch.arange(self.num_samples)
        if self.shuffle:
            state = np.random.SeedSequence((self.seed, self.epoch)).generate_state(1, np.uint64)
            generator = torch.Generator().manual_seed(int(state[0]))
            order = torch.randperm(self.num_samples, generator=generator)
        batches = list(order.split(self.batch_size))
        if len(batches) > 1:
            batches[-2:] = torch.cat(batches[-2:]).tensor_split(2)
        return batches


def stratified_split(split: Split, held_out: int, seed: int) -> tuple[Split, Split]:
    """Holds out `held_out` samples, of each class its share, chosen by `seed`.

    Returns:
        The rest and the held-out samples, each in the order of `split`.
    """
    generator = torch.Generator().manual_seed(seed)
    counts = split.labels.bincount()
    shares = counts * held_out / len(split.labels)
    quota = shares.floor().long()
    # Largest remainder: what rounding down leaves over goes to the classes nearest to one more.
    quota[
        (shares - quota).argsort(descending=True, stable=True)[: held_out - int(quota.sum())]
    ] += 1
    is_held_out = torch.zeros(len(split.labels), dtype=torch.bool)
    for label, size in enumerate(quota.tolist()):
        members = (split.labels == label).nonzero().flatten()
        is_held_out[members[torch.randperm(len(members), generator=generator)[:size]]] = True
    return split.take(~is_held_out), split.take(is_held_out)
