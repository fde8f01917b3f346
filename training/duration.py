"""Estimates the time of a long training."""

import copy
import time

import torch
from lightning.pytorch import Trainer
from torch import nn

from datamodules import InMemoryDataModule
from inference.inspection import count_macs

LONG = 4 * 3600  # seconds
FASTEST = 500e9  # operations per second of a core; these networks reach a fifth to a half of it
SLOWEST = 50  # a core without wide vectors is this many times slower


def long_training(net: nn.Module, data: InMemoryDataModule, trainer: Trainer, epochs: int) -> str:
    """An estimate of a long training's time on a CPU; empty if it is short, or on a GPU.

    The network's arithmetic gives a lower bound without a measurement. Only if a slow processor
    could need more than `LONG`, a few images are timed.

    Args:
        net: The network.
        data: Its data module, with the training images loaded.
        trainer: The Trainer.
        epochs: Number of epochs left.
    """
    if trainer.strategy.root_device.type != "cpu":
        return ""
    limit, batches = trainer.limit_train_batches, len(data.train_dataloader())
    share = min(1.0, limit / batches) if isinstance(limit, int) else limit
    images = share * epochs * len(data.splits["train"].labels) / trainer.world_size
    operations = 2 * 3 * count_macs(net, data.channels, data.image_size)  # backward: 2 forward
    if images * operations / FASTEST / torch.get_num_threads() < LONG / SLOWEST:
        return ""
    seconds = images * seconds_of_image(net, data, trainer)
    return f"about {seconds / 3600:,.0f} hours on this processor" if seconds > LONG else ""


def seconds_of_image(net: nn.Module, data: InMemoryDataModule, trainer: Trainer) -> float:
    """Training time per image in large batches, measured on a copy of the network."""
    net = copy.deepcopy(net).train()
    size, times = data.image_size, []
    state = torch.get_rng_state()
    for count in (8, 2, 8):  # the first warms up
        images = torch.zeros(count, data.channels, size, size)
        start = time.perf_counter()
        with trainer.precision_plugin.forward_context():
            output = net(images)
        (output if isinstance(output, torch.Tensor) else output[0]).float().sum().backward()
        times.append(time.perf_counter() - start)
    torch.set_rng_state(state)
    return (times[2] - times[1]) / 6  # the constant part per batch cancels
