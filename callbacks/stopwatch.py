"""Measures how long a training takes."""

import statistics
import time
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from terminal.devices import synchronize


class Stopwatch(Callback):
    """Measures the time of the whole training, and of its steps without validation or checkpoints.

    Attributes:
        train_seconds: From the first step to the end of the last epoch, over all restarts.
        train_cpu_seconds: Processor time in `train_seconds`, over all threads and processes; other
            load on the machine hardly affects it.
        images_per_second: Speed of the steps of each epoch, over all processes.
    """

    def __init__(self) -> None:
        self.train_seconds = self.train_cpu_seconds = 0.0
        self.images_per_second: list[float] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._fit_start, self._cpu_start = time.perf_counter(), time.process_time()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._images, self._step_seconds = 0, 0.0
        self._steps_start = time.perf_counter()

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: tuple[Tensor, Tensor],
        batch_idx: int,
    ) -> None:
        self._images += len(batch[1])

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking:
            self._pause(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._steps_start = time.perf_counter()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._pause(trainer)
        now, cpu_now = time.perf_counter(), time.process_time()
        self.train_seconds += now - self._fit_start
        # In float32: some accelerators have no float64.
        own = torch.tensor([self._images, cpu_now - self._cpu_start], device=pl_module.device)
        images, cpu_seconds = trainer.strategy.reduce(own, reduce_op="sum").tolist()
        self.train_cpu_seconds += cpu_seconds
        self.images_per_second.append(images / self._step_seconds)
        self._fit_start, self._cpu_start = now, cpu_now

    def state_dict(self) -> dict[str, Any]:
        return {
            "train_seconds": self.train_seconds,
            "train_cpu_seconds": self.train_cpu_seconds,
            "images_per_second": self.images_per_second,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.train_seconds = state_dict["train_seconds"]
        self.train_cpu_seconds = state_dict.get("train_cpu_seconds", 0.0)  # missing in older runs
        self.images_per_second = state_dict["images_per_second"]

    @property
    def steady_images_per_second(self) -> float:
        """Median over the epochs, without the first (warm-up) if there are others."""
        speeds = self.images_per_second[1:] or self.images_per_second
        return statistics.median(speeds) if speeds else 0.0

    def _pause(self, trainer: Trainer) -> None:
        """Adds the time of the steps since the start or the last validation of this epoch."""
        synchronize(trainer.strategy.root_device)
        self._step_seconds += time.perf_counter() - self._steps_start
