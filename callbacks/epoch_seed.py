"""Random numbers that depend only on (seed, epoch, rank)."""

import os
import random

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer


class EpochSeed(Callback):
    """Reseeds augmentation and dropout at the start of each epoch.

    A resumed run draws the same random numbers as an uninterrupted one. The sampler has its own
    generator for the order of the samples.
    """

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        seed = int(os.environ.get("PL_GLOBAL_SEED", 0))
        source = np.random.SeedSequence((seed, trainer.current_epoch, trainer.global_rank))
        number = int(source.generate_state(1, np.uint64)[0])
        torch.manual_seed(number)
        np.random.seed(number % 2**32)  # for the user's own augmentation
        random.seed(number)
