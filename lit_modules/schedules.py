"""Learning-rate schedules that do not repeat the length of the training."""

import math


class WarmupCosine:
    """Linear warm-up, then half a cosine down to `end`, over the whole training.

    A function of the progress alone: `LitClassifier` evaluates it before each step, so changing
    `trainer.max_epochs` stretches or shortens it and nothing else has to change.

    Source: Goyal et al. 2017 (warm-up), https://arxiv.org/abs/1706.02677; Loshchilov and Hutter
    2016 (cosine), https://arxiv.org/abs/1608.03983.

    Args:
        warmup: Share of the training that the warm-up takes, in [0, 1).
        end: Factor of the learning rate at the end, in [0, 1].

    Raises:
        ValueError: If a value is out of range.
    """

    def __init__(self, warmup: float = 0.05, end: float = 0.0) -> None:
        if not 0 <= warmup < 1:
            raise ValueError(f"warmup must be in [0, 1), got {warmup}")
        if not 0 <= end <= 1:
            raise ValueError(f"end must be in [0, 1], got {end}")
        self.warmup = warmup
        self.end = end

    def __call__(self, progress: float) -> float:
        """Factor of the learning rate at `progress`, from 0 (start) to 1 (end of the training)."""
        if progress < self.warmup:
            return progress / self.warmup
        falling = (progress - self.warmup) / (1 - self.warmup)
        return self.end + (1 - self.end) * (1 + math.cos(math.pi * falling)) / 2
