"""The figures of a finished run: `results.json`."""

import json
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning
import torch
import torchvision
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from inference.inspection import count_macs, count_parameters
from terminal.atomic import write_atomically
from terminal.run_folder import RunFolder
from terminal.threads import usable_processors

if TYPE_CHECKING:
    from training.cli import TrainingCLI


class Stopwatch(Callback):
    """Times the training: all of it, and its steps alone, without validation and checkpoints.

    Attributes:
        train_seconds: From the first step to the end of the last epoch, over all restarts.
        train_cpu_seconds: Processor time in it, of all threads of all processes; it hardly depends
            on what else a machine does.
        images_per_second: Of the steps of each epoch, over all processes.
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
        # In 32 bits, all that some accelerators have.
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
        self.train_cpu_seconds = state_dict.get("train_cpu_seconds", 0.0)  # of older runs
        self.images_per_second = state_dict["images_per_second"]

    @property
    def steady_images_per_second(self) -> float:
        """Median over the epochs, without the first, which warms up, where there are others."""
        speeds = self.images_per_second[1:] or self.images_per_second
        return statistics.median(speeds) if speeds else 0.0

    def _pause(self, trainer: Trainer) -> None:
        """Adds the steps since the start, or the last validation, of this epoch."""
        if trainer.strategy.root_device.type == "cuda":
            torch.cuda.synchronize(trainer.strategy.root_device)
        self._step_seconds += time.perf_counter() - self._steps_start


def collect_results(cli: "TrainingCLI", test_metrics: Mapping[str, float]) -> dict[str, Any]:
    """The figures of a run that is trained and tested; accuracies are fractions."""
    net, data, trainer = cli.model.net, cli.datamodule, cli.trainer
    device = trainer.strategy.root_device
    return {
        "config": cli.run.name,
        "net": cli.net_name,
        "dataset": data.name,
        "image_size": data.image_size,
        "seed": cli.config.seed_everything,
        "parameters": count_parameters(net),
        "macs": count_macs(net, data.channels, data.image_size),
        "epochs": trainer.current_epoch,
        "best_epoch": cli.keeper.best_epoch,
        "val_accuracy": cli.keeper.best_score[0] if cli.keeper.best_score else None,
        "test_accuracy": test_metrics["test/acc"],
        "test_loss": test_metrics["test/loss"],
        "test_images": count_test_images(trainer),
        "train_seconds": cli.stopwatch.train_seconds,
        "train_cpu_seconds": cli.stopwatch.train_cpu_seconds,
        "images_per_second": cli.stopwatch.steady_images_per_second,
        "peak_memory_bytes": peak_memory_bytes(device),
        "precision": trainer.precision,
        "device": device_name(device),
        "world_size": trainer.world_size,
        "versions": versions(),
        "commit": commit(),
    }


def count_test_images(trainer: Trainer) -> int:
    """Images that the test asked about: all of them, but for `trainer.limit_test_batches`."""
    sampler, (batches,) = trainer.test_dataloaders.sampler, trainer.num_test_batches
    return sum(map(sampler.samples_of_step, range(batches)))


def write_results(run: RunFolder, results: dict[str, Any]) -> None:
    """Writes `results.json`, whole or not at all."""
    write_atomically(
        run.results, lambda path: path.write_text(json.dumps(results, indent=2) + "\n")
    )


def peak_memory_bytes(device: torch.device) -> int:
    """The most memory the run has had: of the GPU, or of the process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} ({platform.machine()}, {usable_processors()} cores)"


def versions() -> dict[str, str | None]:
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "lightning": lightning.__version__,
        "cuda": torch.version.cuda,
    }


def commit() -> str | None:
    """The commit of the code, marked where files differ from it; None outside a git checkout."""
    root = Path(__file__).parent.parent
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        found = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() or None
