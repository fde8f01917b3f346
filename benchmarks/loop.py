"""An epoch of `train.py`'s fit loop against a bare PyTorch loop doing the same work.

    python -m benchmarks.loop [--root DIR] [--batch_size 256] [--rounds 5] [--json FILE]

The same network, tensors, order, preparation, optimizer, schedule and metrics, on the CPU or the
GPU that is there. The two take turns; the ratio is that of the medians.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import torch
from torch.nn import functional as F

from benchmarks.report import report
from training.cli import TrainingCLI


def build(args: argparse.Namespace, folder: str) -> TrainingCLI:
    """The objects that `train.py` would train with for one epoch."""
    return TrainingCLI(
        [
            *("--config", "configs/lenet.yaml", "--data.augment", "null"),
            *("--data.root", str(args.root), "--data.batch_size", str(args.batch_size)),
            *("--trainer.max_epochs", "1", "--trainer.limit_val_batches", "0"),
            *("--run_dir", os.path.join(folder, "run")),
        ]
    )


def fit_loop(args: argparse.Namespace) -> float:
    """Seconds of the training epoch of the fit loop."""
    with tempfile.TemporaryDirectory() as folder:
        cli = build(args, folder)
        with cli.open_run():
            cli.trainer.fit(cli.model, cli.datamodule)
        return len(cli.datamodule.splits["train"].labels) / cli.stopwatch.images_per_second[0]


def bare_loop(args: argparse.Namespace) -> float:
    """Seconds of the same epoch, written out."""
    with tempfile.TemporaryDirectory() as folder:
        cli = build(args, folder)
    device = cli.trainer.strategy.root_device
    net = cli.model.net.to(device).train()
    parameters = list(net.parameters())
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in parameters if p.ndim > 1]},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ],
        lr=0.003,
        weight_decay=0.01,
    )
    data = cli.datamodule
    images, labels = data.splits["train"]
    steps = -(-len(labels) // args.batch_size)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: cli.model.schedule(min(1.0, (step + 0.5) / steps))
    )
    loss_sum, correct = torch.zeros((), device=device), torch.zeros((), device=device)
    start = time.perf_counter()
    for indices in torch.randperm(len(labels)).split(args.batch_size):
        x, y = images[indices].to(device), labels[indices].to(device)
        x = (x.float() / 255 - data.mean) / data.std
        optimizer.zero_grad()
        logits = net(x)
        loss = F.cross_entropy(logits, y)
        loss.backward()
        optimizer.step()
        schedule.step()
        loss_sum += loss.detach() * len(y)
        correct += (logits.detach().argmax(1) == y).sum()
    (loss_sum / len(labels)).item(), (correct / len(labels)).item()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=Path("data"))
    parser.add_argument("--batch_size", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    sys.argv = sys.argv[:1]  # LightningCLI warns of arguments that it was not given
    fit_loop(args), bare_loop(args)  # warm up
    seconds: dict[str, list[float]] = {"fit loop of train.py": [], "bare loop": []}
    for _ in range(args.rounds):
        seconds["fit loop of train.py"].append(fit_loop(args))
        seconds["bare loop"].append(bare_loop(args))
    report(f"an epoch of LeNet-5, batch {args.batch_size}", "seconds", seconds, args.json)


if __name__ == "__main__":
    main()
