"""Reads the folders of finished runs back in, and says why it cannot read one."""

import csv
import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from training.errors import UserError
from training.recipe import recipe

TEXTS = ("config", "net", "dataset", "precision", "device")
NUMBERS = (
    *("image_size", "seed", "parameters", "macs", "epochs", "world_size"),
    *("test_accuracy", "test_loss", "train_seconds", "images_per_second", "peak_memory_bytes"),
)
SWEEP = "sweep.db"  # beside the trials of a sweep
OPTIONAL = ("val_accuracy", "commit")  # without validation; outside a git checkout
LATER = ("train_cpu_seconds",)  # runs of older versions do not have it


class UnusableRun(Exception):
    """A run that cannot be compared. The message says why."""


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        folder: Where it is.
        results: What `results.json` says.
        recipe: What of `config.yaml` makes a difference to the result; None where there is no such
            file.
        val_accuracies: Of each epoch, counted from 1; empty where there is no `metrics.csv`.
    """

    folder: Path
    results: dict[str, Any]
    recipe: dict[str, Any] | None
    val_accuracies: dict[int, float]


def read_runs(folders: Iterable[Path]) -> tuple[list[Run], dict[Path, str]]:
    """Reads all runs at or below the given folders, in the order of their numbers.

    Trials of a sweep are passed over: they were never tested.

    Returns:
        The finished runs, and the reason for each folder that is left out.

    Raises:
        UserError: If one of the given folders is not there.
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
        except (OSError, UnicodeDecodeError) as error:
            left_out[folder] = f"cannot be read: {error}"
    return runs, left_out


def read_run(folder: Path) -> Run:
    """Reads one run.

    Raises:
        UnusableRun: If it is unfinished or damaged.
        OSError, UnicodeDecodeError: If a file cannot be read at all.
    """
    results = _read_results(folder / "results.json")
    settings = _read_recipe(folder / "config.yaml")
    return Run(folder, results, settings, _read_metrics(folder / "metrics.csv"))


def _read_results(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise UnusableRun("unfinished: no results.json")
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise UnusableRun(f"damaged: results.json is not JSON, line {error.lineno}") from error
    fields = results if isinstance(results, dict) else {}
    if missing := [key for key in (*TEXTS, *NUMBERS, *OPTIONAL) if key not in fields]:
        raise UnusableRun(f"damaged: results.json lacks {', '.join(missing)}")
    numbers = [*NUMBERS, *(["val_accuracy"] if fields["val_accuracy"] is not None else [])]
    numbers += [key for key in LATER if key in fields]
    wrong = [key for key in numbers if not _is_measure(fields[key])]
    wrong += [key for key in TEXTS if not isinstance(fields[key], str)]
    if wrong:
        raise UnusableRun(f"damaged: {wrong[0]} in results.json is {fields[wrong[0]]!r}")
    return results


def _is_measure(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value) and value >= 0


def _read_recipe(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise UnusableRun("damaged: config.yaml is not YAML") from error
    if not isinstance(config, dict):
        raise UnusableRun("damaged: config.yaml is empty or cut off")
    return recipe(config)


def _read_metrics(path: Path) -> dict[int, float]:
    if not path.exists():
        return {}
    accuracies: dict[int, float] = {}
    with open(path, newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        try:
            for row in reader:
                if None in row or None in row.values():
                    raise ValueError("not as many cells as columns")
                if row["val/acc"]:
                    accuracies[int(float(row["epoch"])) + 1] = float(row["val/acc"])
        except KeyError as error:
            raise UnusableRun(f"damaged: metrics.csv has no {error.args[0]}") from error
        except (ValueError, csv.Error) as error:
            raise UnusableRun(f"damaged: metrics.csv, line {reader.line_num}: {error}") from error
    return accuracies


def _by_number(folder: Path) -> list[tuple[int, str]]:
    return [(int(part or 0), text) for text, part in re.findall(r"(\D*)(\d*)", str(folder))]
