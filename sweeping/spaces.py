"""Reads the search space of a sweep."""

import math
import warnings
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import get_loader
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from terminal.errors import UserError

NOT_VARIED = ("config", "run_dir", "help", "print_config")


def read_space(path: Path) -> dict[str, BaseDistribution]:
    """Reads the keys of a search space and their values.

    Args:
        path: A YAML file of dotted keys with `{low: 1, high: 9}`, integers or floats, with `log:
            true` or `step: 2`, or with `{choices: [a, b]}`.

    Raises:
        UserError: If the file cannot be read or is invalid.
    """
    try:
        # Reads 1e-4 as a number, as in configs.
        space = get_loader("yaml")(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"cannot read the space {path}: {error}.") from error
    if not isinstance(space, dict) or not space:
        raise UserError(f"the space {path} names no keys: 'model.optimizer.lr: {{low: ...}}'.")
    return {key: _distribution(key, values) for key, values in space.items()}


def _distribution(key: str, values: Any) -> BaseDistribution:
    if key in NOT_VARIED:
        raise UserError(f"the space names {key}, which is the same for all trials.")
    try:
        with warnings.catch_warnings():
            # Optuna would only warn, and use other values.
            warnings.simplefilter("error", UserWarning)
            match values:
                case {"choices": list() as choices, **rest} if choices and not rest:
                    return CategoricalDistribution(choices)
                case {"low": bool()} | {"high": bool()}:
                    pass
                case {"low": int(), "high": int()}:
                    return IntDistribution(**values)
                case {"low": float() | int() as low, "high": float() | int() as high} if (
                    math.isfinite(low) and math.isfinite(high)
                ):
                    return FloatDistribution(**values)
    except (TypeError, ValueError, UserWarning) as error:
        raise UserError(f"the space of {key}: {error}") from error
    raise UserError(f"the space of {key} has to be {{low, high[, log or step]}} or {{choices}}.")


def as_arguments(values: dict[str, Any]) -> list[str]:
    """The values of a trial as command-line arguments."""
    return [
        word
        for key, value in values.items()
        for word in (f"--{key}", "null" if value is None else str(value))
    ]


def points_to_check(space: dict[str, BaseDistribution]) -> list[dict[str, Any]]:
    """A small set of points that covers every choice and both ends of every range."""
    values = {
        key: among.choices
        if isinstance(among, CategoricalDistribution)
        else (among.low, among.high)
        for key, among in space.items()
    }
    count = max(map(len, values.values()))
    return [{key: of[point % len(of)] for key, of in values.items()} for point in range(count)]
