"""Randomness that is a function of (seed, epoch, rank) and of nothing that happened before."""

import os
import random

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer


class EpochSeed(Callback):
    """Seeds augmentation and dropout anew at the start of each epoch.

    A run that was killed goes on with the same numbers as one that was not. The order of the
    samples has a generator of its own, in the sampler.
    """

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        seed = int(os.environ.get("PL_GLOBAL_SEED", 0))
        source = np.random.SeedSequence((seed, trainer.current_epoch, trainer.global_rank))
        number = int(source.generate_state(1, np.uint64)[0])
        torch.manual_seed(number)
        np.random.seed(number % 2**32)  # for augmentation of the user's own
        random.seed(number)
