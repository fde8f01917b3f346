"""An epoch of `train.py`'s fit loop against hand-written loops.

    python -m benchmarks.loop [--config configs/lenet.yaml] [--image_size 28] [--batch_size 256]
                              [--batches N] [--tutorial 128 16] [--rounds 5] [--json FILE]
                              [--KEY VALUE ...]

The bare loop does the same work on the same tensors: network, order, preprocessing, optimizer,
schedule and metrics. The tutorial's loop reads torchvision's dataset one image at a time, and reads
the loss in every step; its batch sizes may differ. The loops run in turns; ratios are of the
medians. Further options are `train.py`'s, for both of our loops: `--model.optimizer.fused true`.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from benchmarks.data import extract
from benchmarks.report import benchmark_parser, report, write_json
from training.cli import TrainingCLI


def build(args: argparse.Namespace, folder: str) -> TrainingCLI:
    """The objects that `train.py` would train with for one epoch."""
    return TrainingCLI(
        [
            *("--config", args.config, "--data.augment", "null"),
            *("--data.root", str(args.root), "--data.batch_size", str(args.batch_size)),
            *("--data.image_size", str(args.image_size), "--trainer.callbacks", "null"),
            *("--trainer.max_epochs", "1", "--trainer.limit_val_batches", "0"),
            *(["--trainer.limit_train_batches", str(args.batches)] if args.batches else []),
            *("--run_dir", os.path.join(folder, "run"), "--dashboard", "false"),
            *args.options,
        ]
    )


def fit_loop(args: argparse.Namespace) -> float:
    """Seconds of the training epoch of the fit loop."""
    with tempfile.TemporaryDirectory() as folder:
        cli = build(args, folder)
        with cli.open_run():
            cli.trainer.fit(cli.model, cli.datamodule)
        return images_of(args, cli) / cli.stopwatch.images_per_second[0]


def images_of(args: argparse.Namespace, cli: TrainingCLI) -> int:
    everything = len(cli.datamodule.splits["train"].labels)
    return min(everything, args.batches * args.batch_size) if args.batches else everything


def bare_loop(args: argparse.Namespace) -> float:
    """Seconds of the same epoch in a hand-written loop."""
    with tempfile.TemporaryDirectory() as folder:
        cli = build(args, folder)
    device = cli.trainer.strategy.root_device
    cli.model.trainer = cli.trainer
    cli.model.setup("fit")
    net = cli.model.net.to(device).train()
    forward = cli.model._compiled or net
    optimizer = cli.model.build_optimizer()
    data = cli.datamodule
    preprocess = data.preprocessing
    images, labels = data.splits["train"]
    number = images_of(args, cli)
    steps = -(-number // args.batch_size)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: cli.model.schedule(min(1.0, (step + 0.5) / steps))
    )
    loss_sum, correct = torch.zeros((), device=device), torch.zeros((), device=device)
    precision = cli.trainer.precision_plugin
    start = time.perf_counter()
    for indices in torch.randperm(len(labels))[:number].split(args.batch_size):
        x, y = images.index_select(0, indices), labels.index_select(0, indices)
        x, y = x.to(device, non_blocking=True), y.to(device, non_blocking=True)
        x = preprocess(x.float() / 255)
        optimizer.zero_grad()
        with precision.forward_context():
            logits = forward(x)
            loss = F.cross_entropy(logits, y, label_smoothing=cli.model.label_smoothing)
        loss.backward()
        optimizer.step()
        schedule.step()
        loss_sum += loss.detach() * len(y)
        correct += (logits.detach().argmax(1) == y).sum()
    (loss_sum / number).item(), (correct / number).item()
    return time.perf_counter() - start


def tutorial_loop(args: argparse.Namespace, batch_size: int, folder: Path) -> float:
    """Seconds of an epoch in the usual loop of tutorials."""
    with tempfile.TemporaryDirectory() as run:
        cli = build(args, run)
    device = cli.trainer.strategy.root_device
    data = cli.datamodule
    resize = [transforms.Resize(args.image_size)] if args.image_size != data.native_size else []
    chain = [*resize, transforms.ToTensor(), transforms.Normalize(data.mean, data.std)]
    dataset = datasets.FashionMNIST(folder, transform=transforms.Compose(chain))
    number = images_of(args, cli)
    dataset = torch.utils.data.Subset(dataset, range(number))
    loader = DataLoader(dataset, batch_size=batch_size, shuffle=True)
    net = cli.model.net.to(device).train()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.001)
    criterion = nn.CrossEntropyLoss()
    running = 0.0
    start = time.perf_counter()
    for x, y in loader:
        x, y = x.to(device), y.to(device)
        optimizer.zero_grad()
        loss = criterion(net(x), y)
        loss.backward()
        optimizer.step()
        running += loss.item()
    return time.perf_counter() - start


def main() -> None:
    parser = benchmark_parser(__doc__)
    parser.add_argument("--config", default="configs/lenet_fashion.yaml")
    parser.add_argument("--image_size", type=int, default=28)
    parser.add_argument("--batch_size", type=int, default=256)
    parser.add_argument("--batches", type=int, default=0, help="batches of an epoch; 0 for all")
    parser.add_argument("--tutorial", type=int, nargs="*", default=[], help="tutorial batch sizes")
    args, args.options = parser.parse_known_args()
    sys.argv = sys.argv[:1]
    fit_loop(args), bare_loop(args)  # warm up
    seconds: dict[str, list[float]] = {"train.py's fit loop": [], "bare loop": []}
    with tempfile.TemporaryDirectory() as folder:
        extract(args.root, Path(folder))
        for _ in range(args.rounds):
            seconds["train.py's fit loop"].append(fit_loop(args))
            seconds["bare loop"].append(bare_loop(args))
            for size in args.tutorial:
                name = f"tutorial's loop, batch {size}"
                seconds.setdefault(name, []).append(tutorial_loop(args, size, Path(folder)))
    title = " ".join(
        [
            f"an epoch of {Path(args.config).stem}, {args.image_size} x {args.image_size},",
            *(f"batch {args.batch_size}", *args.options),
        ]
    )
    content = report(title, "seconds", seconds)
    write_json(args.json, [content])


if __name__ == "__main__":
    main()
