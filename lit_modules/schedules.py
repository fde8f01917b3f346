"""Learning-rate schedules: warm-up and cosine, and sequences of torch's schedulers."""

import math
import warnings
from collections.abc import Callable
from typing import Literal, get_type_hints

from torch.optim import Optimizer
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    LRScheduler,
    OneCycleLR,
    PolynomialLR,
    ReduceLROnPlateau,
    SequentialLR,
)


class WarmupCosine:
    """Linear warm-up, then a cosine decay to `end`, over the whole training.

    It depends on the progress alone: `LitClassifier` evaluates it before each step, so it adapts to
    `trainer.max_epochs`.

    Source: Goyal et al. 2017 (warm-up), https://arxiv.org/abs/1706.02677; Loshchilov and Hutter
    2016 (cosine), https://arxiv.org/abs/1608.03983.

    Args:
        warmup: Share of the training for the warm-up, in [0, 1).
        end: Final factor of the learning rate, in [0, 1].

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


class Schedules:
    """A sequence of torch's schedulers, stepped after each optimizer step or epoch.

    Args:
        schedules: Functions that make a scheduler from the optimizer.
        milestones: Steps or epochs after which the second scheduler begins, the third, and so on.
        interval: Whether they are stepped after each optimizer step or after each epoch.

    Raises:
        ValueError: If the milestones are not one fewer than the schedules, or do not increase, or
            if a function makes no scheduler.
    """

    def __init__(
        self,
        schedules: list[Callable[[Optimizer], LRScheduler]],
        milestones: list[int] | None = None,
        interval: Literal["step", "epoch"] = "step",
    ) -> None:
        for make in schedules:
            check_makes_scheduler(make)
        self.schedules = schedules
        self.milestones = milestones or []
        self.interval = interval
        if len(self.milestones) != len(schedules) - 1:
            raise ValueError(
                f"milestones must be one fewer than the {len(schedules)} schedules, got "
                f"{len(self.milestones)}"
            )
        if self.milestones != sorted({m for m in self.milestones if m > 0}):
            raise ValueError(f"milestones must be positive and increase, got {self.milestones}")

    def build(self, optimizer: Optimizer, length: float) -> LRScheduler:
        """Builds the scheduler of a training of `length` optimizer steps, or epochs.

        Raises:
            ValueError: If a scheduler does not fit its part, or needs validations.
        """
        starts = [0, *self.milestones]
        if 0 < length <= starts[-1]:
            raise ValueError(
                f"milestone {starts[-1]} is not before the end, after {length} {self.interval}s"
            )
        made = [schedule(optimizer) for schedule in self.schedules]
        if any(isinstance(scheduler, ReduceLROnPlateau) for scheduler in made):
            raise ValueError("ReduceLROnPlateau needs validations: it must be the only schedule")
        for scheduler, start, end in zip(made, starts, [*self.milestones, length], strict=True):
            check_length(scheduler, end - start, self.interval)
        return made[0] if len(made) == 1 else SequentialLR(optimizer, made, self.milestones)

    def __deepcopy__(self, memo: dict) -> "Schedules":
        return self  # weight averaging copies modules; parsed functions refer to the Trainer


def check_makes_scheduler(make: Callable[[Optimizer], LRScheduler]) -> None:
    """Checks that the return annotation of a function, if it has one, is a scheduler.

    The function is not called: one that makes a network could download its weights.

    Raises:
        ValueError: If it is another class.
    """
    try:
        made = get_type_hints(make).get("return")
    except (TypeError, NameError):  # no annotations, or undefined names
        return
    if isinstance(made, type) and not issubclass(made, LRScheduler):
        raise ValueError(f"schedule: it makes a {made.__name__}, not a learning-rate scheduler")


def check_length(scheduler: LRScheduler, length: float, unit: str) -> None:
    """Warns if a scheduler ends before or after its part of the training.

    Args:
        scheduler: Any scheduler of torch.
        length: Steps or epochs of its part; unknown if not positive, or infinite.
        unit: "step" or "epoch".

    Raises:
        ValueError: If `OneCycleLR` does: it would stop the training, or not finish.

    Warns:
        UserWarning: If `CosineAnnealingLR` or `PolynomialLR` does.
    """
    name = ENDS.get(type(scheduler))
    if name is None or length <= 0 or math.isinf(length):
        return
    if (given := getattr(scheduler, name)) == length:
        return
    message = (
        f"{type(scheduler).__name__} ends after {name} {given}, and the training after {length} "
        f"{unit}s: set {name} to {length}"
    )
    if isinstance(scheduler, OneCycleLR):
        raise ValueError(message)
    warnings.warn(message, stacklevel=2)


# The argument that sets the end of a schedule.
ENDS = {OneCycleLR: "total_steps", CosineAnnealingLR: "T_max", PolynomialLR: "total_iters"}
