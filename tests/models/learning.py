"""Checks that each network, from its own initialization, can overfit 64 real images.

python -m tests.models.learning [NETWORK ...]    all networks, or those named

It finds a network that runs but cannot train: wrong initialization, a dead path.
"""

import sys
import time
from collections.abc import Callable

import torch
from torch import nn

from datamodules import Digits
from tests.models.networks import NETWORKS

IMAGES, BATCH = 64, 32
# The numbers have a margin, since the time depends on a processor's rounding: the slowest network
# needs a third of the steps, and with one dead class of ten at most 92 % are right.
STEPS = 60
LEARNED = 0.95
# The smallest size at which no feature map vanishes before the last pool, and Adam's learning rate,
# smaller for networks without norms.
SETTINGS = {
    "lenet": (28, 5e-3),
    "alexnet": (67, 1e-4),
    "vgg": (32, 1e-4),
    "nin": (67, 3e-4),
    "googlenet": (40, 3e-4),
    "resnet": (32, 1e-3),
    "densenet": (32, 1e-3),
}


def steps_to_learn(
    name: str, prepare: Callable[[nn.Module], object] | None = None
) -> tuple[int, float]:
    """Trains on 64 digits in batches of 32.

    Args:
        name: The network, as in `NETWORKS`.
        prepare: Changes the network first, to check that a broken one does not learn.

    Returns:
        Steps until 95 % of them are right (or all steps), and the share that is right then.
    """
    family = name.split(".")[0]
    size, learning_rate = SETTINGS.get(family, (32, 1e-3))
    torch.manual_seed(0)
    data = Digits(image_size=size)
    data.setup("fit")
    split = data.splits["train"].take(torch.arange(IMAGES))
    images, labels = data.preprocessing(split.images.float() / 255), split.labels
    # LeNet-5's sigmoid takes many more steps.
    net = NETWORKS[name](**({"activation": "tanh"} if family == "lenet" else {}))
    if prepare:
        prepare(net)
    for module in net.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0  # it prevents overfitting
    optimizer = torch.optim.Adam(net.parameters(), learning_rate, fused=True)
    correct = torch.zeros(IMAGES, dtype=torch.bool)
    accuracy = 0.0
    for step in range(STEPS):
        batch = torch.arange(BATCH) + BATCH * (step % (IMAGES // BATCH))
        output = net(images[batch])
        heads = [output] if isinstance(output, torch.Tensor) else list(output)
        loss = sum(nn.functional.cross_entropy(head, labels[batch]) for head in heads)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        correct[batch] = heads[0].argmax(1) == labels[batch]
        accuracy = correct.float().mean().item()
        if accuracy >= LEARNED:
            return step + 1, accuracy
    return STEPS, accuracy


if __name__ == "__main__":
    for network in sys.argv[1:] or NETWORKS:
        start = time.perf_counter()
        steps, accuracy = steps_to_learn(network)
        print(
            f"{network:<24}{steps:>4} steps  {accuracy:.2%}  {time.perf_counter() - start:.0f} s",
            flush=True,
        )
