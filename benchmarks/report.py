"""How every benchmark reports: medians with their spread, side by side, and the machine."""

import json
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

import lightning
import torch


def machine() -> dict[str, str | int]:
    """What the figures were measured on."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    return {
        "cpu": platform.processor() or platform.machine(),
        "cores": os.cpu_count() or 0,
        "threads": torch.get_num_threads(),
        "gpu": gpu,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "lightning": lightning.__version__,
    }


def report(
    title: str, unit: str, figures: Mapping[str, Sequence[float]], file: Path | None
) -> None:
    """Prints the median, the range and the first's ratio to each, and writes them as JSON.

    Args:
        title: What was measured.
        unit: Unit of the figures.
        figures: Name to one figure a round; the first is ours.
        file: Where the JSON goes; None for nowhere.
    """
    medians = {name: statistics.median(values) for name, values in figures.items()}
    first = next(iter(medians.values()))
    print(f"{title}, {unit}, median of {len(next(iter(figures.values())))} (lowest to highest)")
    for name, values in figures.items():
        spread = f"({min(values):,.4g} to {max(values):,.4g})"
        ratio = first / medians[name]
        print(f"  {name:<32}{medians[name]:>12,.4g}  {spread:<24} ours/this {ratio:.3g}")
    print("  " + ", ".join(f"{key} {value}" for key, value in machine().items()))
    if file:
        content = {"title": title, "unit": unit, "figures": figures, "machine": machine()}
        file.write_text(json.dumps(content, indent=2) + "\n")
