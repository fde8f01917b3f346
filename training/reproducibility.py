"""Randomness that is a function of (seed, epoch, rank) and of nothing that happened before."""

import os

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer


class EpochSeed(Callback):
    """Seeds augmentation and dropout anew at the start of each epoch.

    A run that was killed goes on with the same numbers as one that was not. The order of the
    samples has a generator of its own, in the sampler.
    """

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._seed(trainer)  # a resumed run enters its first epoch without on_train_epoch_start

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._seed(trainer)

    def _seed(self, trainer: Trainer) -> None:
        seed = int(os.environ.get("PL_GLOBAL_SEED", 0))
        source = np.random.SeedSequence((seed, trainer.current_epoch, trainer.global_rank))
        torch.manual_seed(int(source.generate_state(1, np.uint64)[0]))


class RewindLogs(Callback):
    """Takes back what a killed run has logged after the checkpoint that the run goes on from."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.global_step > 0:
            for logger in trainer.loggers:
                if hasattr(logger, "rewind"):
                    logger.rewind(trainer.global_step)
