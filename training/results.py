"""The figures of a finished run: `results.json`."""

import json
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning
import torch
import torchvision
from lightning.pytorch import Trainer

from inference.inspection import count_macs, count_parameters
from terminal.atomic import write_atomically
from terminal.devices import device_name, peak_memory_bytes
from terminal.run_folder import RunFolder
from training.cli import TrainingCLI


def collect_results(cli: TrainingCLI, test_metrics: Mapping[str, float]) -> dict[str, Any]:
    """The figures of a run that is trained and tested; accuracies are fractions."""
    net, data, trainer = cli.model.net, cli.datamodule, cli.trainer
    device = trainer.strategy.root_device
    measured = cli.keeper.best_metrics | test_metrics
    added = {
        key: measured[key]
        for name in cli.model.added_metrics
        for key in (f"val/{name}", f"test/{name}")
        if key in measured
    }
    return {
        "config": cli.run.name,
        "net": cli.net_name,
        "dataset": data.name,
        **({"images": data.digest} if data.digest else {}),
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
        **({"metrics": added} if added else {}),
        **({"init_from": cli.start._asdict()} if cli.start else {}),
    }


def count_test_images(trainer: Trainer) -> int:
    """Number of tested images: all of them, unless `trainer.limit_test_batches` is set."""
    sampler, (batches,) = trainer.test_dataloaders.sampler, trainer.num_test_batches
    return sum(map(sampler.samples_of_step, range(batches)))


def write_results(run: RunFolder, results: dict[str, Any]) -> None:
    """Writes `results.json` atomically."""
    text = json.dumps(results, indent=2) + "\n"
    write_atomically(run.results, lambda path: path.write_text(text, encoding="utf-8"))


def versions() -> dict[str, str | None]:
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "lightning": lightning.__version__,
        "cuda": torch.version.cuda,
        **({"hip": torch.version.hip} if torch.version.hip else {}),  # of ROCm
    }


def commit() -> str | None:
    """The commit of the code, marked where files differ from it; None outside a git checkout."""
    root = Path(__file__).parent.parent
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        found = subprocess.run(command, cwd=root, capture_output=True, encoding="utf-8", timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() or None
