"""The report of every benchmark: medians with their ranges, side by side, and the machine."""

import argparse
import json
import platform
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning
import torch

from terminal.devices import best_device, device_name, limit_threads, usable_processors


def benchmark_parser(description: str) -> argparse.ArgumentParser:
    """The options that every benchmark has."""
    limit_threads()
    parser = argparse.ArgumentParser(description=description, allow_abbrev=False)
    parser.add_argument("--root", type=Path, default=Path("data"), help="folder of the datasets")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    return parser


def machine() -> dict[str, str | int]:
    """The machine that the figures were measured on."""
    device = best_device()
    return {
        "cpu": platform.processor() or platform.machine(),
        "cores": usable_processors(),
        "threads": torch.get_num_threads(),
        "gpu": "none" if device.type == "cpu" else device_name(device),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "lightning": lightning.__version__,
    }


def report(title: str, unit: str, figures: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """Prints medians and ranges, and the ratio of the first median to each other median.

    Args:
        title: What was measured.
        unit: Unit of the figures.
        figures: Figures by name, one per round; the first name is ours.

    Returns:
        The arguments as a dictionary, for `write_json`.
    """
    medians = {name: statistics.median(values) for name, values in figures.items()}
    first = next(iter(medians.values()))
    print(f"{title}, {unit}, median of {len(next(iter(figures.values())))} (lowest to highest)")
    for name, values in figures.items():
        spread = f"({number(min(values))} to {number(max(values))})"
        ratio = f"ours is {first / medians[name]:.3g} times it" if name in list(medians)[1:] else ""
        print(f"  {name:<30}{number(medians[name]):>10}  {spread:<22}{ratio}", flush=True)
    return {"title": title, "unit": unit, "figures": dict(figures)}


def write_json(file: Path | None, reports: Sequence[dict[str, Any]]) -> None:
    """Prints the machine and, if `file` is given, writes the machine and the reports to it."""
    print(", ".join(f"{key} {value}" for key, value in machine().items()))
    if file:
        text = json.dumps({"machine": machine(), "reports": reports}, indent=2) + "\n"
        file.write_text(text, encoding="utf-8")


def number(value: float) -> str:
    """Formats a number to four digits, without an exponent."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"
