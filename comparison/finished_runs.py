"""Reads finished runs, and gives the reason for each that cannot be read."""

import csv
import io
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lit_modules.hyperparameters import is_plain
from terminal.errors import UserError
from training.recipe import recipe

SWEEP = "sweep.db"  # in the folder of a sweep
LARGEST = 10_000_000  # bytes; larger files are not read


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 1_000


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**63


def _is_measure(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value < 1e15  # false for NaN


def _is_fraction(value: Any) -> bool:
    return _is_measure(value) and value <= 1


FIELDS = {
    **dict.fromkeys(("config", "net", "dataset", "precision", "device"), _is_text),
    **dict.fromkeys(("image_size", "seed", "parameters", "macs", "epochs"), _is_count),
    **dict.fromkeys(("world_size", "peak_memory_bytes"), _is_count),
    **dict.fromkeys(("test_loss", "train_seconds", "images_per_second"), _is_measure),
    "test_accuracy": _is_fraction,
}
OPTIONAL = {"val_accuracy": _is_fraction, "commit": _is_text}  # null without validation, or git
LATER = {"train_cpu_seconds": _is_measure}  # runs of older versions do not have it


class UnusableRun(Exception):
    """A run that cannot be compared. The message says why."""


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        folder: Folder of the run.
        results: Content of `results.json`.
        recipe: Settings in `config.yaml` that affect the result; None without that file.
        val_accuracies: Accuracy by epoch, counted from 1; empty without a `metrics.csv`.
    """

    folder: Path
    results: dict[str, Any]
    recipe: dict[str, Any] | None
    val_accuracies: dict[int, float]


def read_runs(folders: Iterable[Path]) -> tuple[list[Run], dict[Path, str]]:
    """Reads all runs at or below the given folders, in the order of their numbers.

    Trials of a sweep are skipped: they were never tested.

    Returns:
        The finished runs, and the reason for each folder that is left out.

    Raises:
        UserError: If a given folder does not exist.
    """
    found: dict[Path, Path] = {}
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"there is no folder {folder}. Name folders that hold runs.")
        for name in ("results.json", "config.yaml", "metrics.csv"):
            for path in folder.rglob(name):
                if not (path.parent.parent / SWEEP).exists():
                    found.setdefault(path.parent.resolve(), path.parent)
    runs: list[Run] = []
    left_out: dict[Path, str] = {}
    for folder in sorted(found.values(), key=_by_number):
        try:
            runs.append(read_run(folder))
        except UnusableRun as error:
            left_out[folder] = str(error)
        except OSError as error:
            left_out[folder] = f"cannot be read: {error}"
    return runs, left_out


def read_run(folder: Path) -> Run:
    """Reads one run.

    Raises:
        UnusableRun: If it is unfinished or damaged.
        OSError: If a file cannot be read at all.
    """
    results = _read_results(folder / "results.json")
    settings = _read_recipe(folder / "config.yaml")
    return Run(folder, results, settings, _read_metrics(folder / "metrics.csv"))


def _read_results(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise UnusableRun("unfinished: no results.json")
    try:
        results = json.loads(_read_text(path))
    except json.JSONDecodeError as error:
        raise UnusableRun(f"damaged: results.json is not JSON, line {error.lineno}") from error
    except (ValueError, RecursionError) as error:  # an endless number, deeply nested brackets
        raise UnusableRun("damaged: results.json was not written by a run") from error
    fields = results if isinstance(results, dict) else {}
    if missing := [key for key in (*FIELDS, *OPTIONAL) if key not in fields]:
        raise UnusableRun(f"damaged: results.json lacks {', '.join(missing)}")
    for key, is_valid in (FIELDS | OPTIONAL | LATER).items():
        is_left_out = fields.get(key) is None and key in OPTIONAL | LATER
        if not is_left_out and not is_valid(fields[key]):
            shown = repr(fields[key])
            raise UnusableRun(
                f"damaged: {key} in results.json is {shown[:60]}{'...' * (len(shown) > 60)}"
            )
    return results


def _read_recipe(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    try:
        config = yaml.safe_load(_read_text(path))
    except (ValueError, RecursionError, yaml.YAMLError) as error:  # such as a date with day 45
        raise UnusableRun("damaged: config.yaml is not YAML") from error
    if not isinstance(config, dict):
        raise UnusableRun("damaged: config.yaml is empty or cut off")
    if not is_plain(config):
        raise UnusableRun("damaged: config.yaml holds more than names with plain values")
    return recipe(config)


def _read_metrics(path: Path) -> dict[int, float]:
    if not path.exists():
        return {}
    accuracies: dict[int, float] = {}
    reader = csv.DictReader(io.StringIO(_read_text(path), newline=""))
    try:
        for row in reader:
            if None in row or None in row.values():
                raise ValueError("the number of cells is not the number of columns")
            if row["val/acc"]:
                epoch, accuracy = float(row["epoch"]), float(row["val/acc"])
                if not (0 <= epoch < 1e9 and _is_fraction(accuracy)):
                    raise ValueError("the epoch or the accuracy is out of range")
                accuracies[int(epoch) + 1] = accuracy
    except KeyError as error:
        raise UnusableRun(f"damaged: metrics.csv has no {error.args[0]}") from error
    except (ValueError, csv.Error) as error:
        raise UnusableRun(f"damaged: metrics.csv, line {reader.line_num}: {error}") from error
    return accuracies


def _read_text(path: Path) -> str:
    """The text of a regular file: reading a pipe or a device might never end."""
    if not path.is_file() or path.stat().st_size > LARGEST:
        raise UnusableRun(f"damaged: {path.name} is too large or not a file")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UnusableRun(f"cannot be read: {path.name} is not text") from error


def _by_number(folder: Path) -> list[tuple[int, str]]:
    return [(int(part or 0), text) for text, part in re.findall(r"(\D*)(\d*)", str(folder))]
