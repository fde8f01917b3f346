"""Groups runs into recipes: runs of one recipe differ only in the seed."""

import re
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comparison.finished_runs import Run

# Fields that distinguish recipes without a config.yaml.
FIELDS = ("config", "net", "dataset", "image_size", "epochs", "precision")


@dataclass(frozen=True)
class Recipe:
    """Runs that differ only in the seed.

    Attributes:
        config: Name of the config.
        notes: The settings that distinguish it from recipes with the same config and dataset.
        runs: One for each seed.
    """

    config: str
    notes: tuple[str, ...]
    runs: tuple[Run, ...]

    @property
    def name(self) -> str:
        """Name of the config, with the notes."""
        return f"{self.config} ({', '.join(self.notes)})" if self.notes else self.config

    def mean(self, field: str) -> float | None:
        """Mean of a field of the results; None if no run has it."""
        values = self._values(field)
        return statistics.fmean(values) if values else None

    def std(self, field: str) -> float | None:
        """Sample standard deviation of a field over the seeds; None for a single one."""
        values = self._values(field)
        return statistics.stdev(values) if len(values) > 1 else None

    def told(self, field: str) -> str:
        """The distinct values of a text field."""
        return "; ".join(dict.fromkeys(str(run.results.get(field) or "") for run in self.runs))

    @property
    def dataset(self) -> str:
        return self.runs[0].results["dataset"]

    @property
    def net(self) -> str:
        """Name of the function or class that makes the network."""
        return self.runs[0].results["net"].rpartition(".")[2]

    def _values(self, field: str) -> list[float]:
        return [value for run in self.runs if (value := run.results.get(field)) is not None]


def group(runs: Iterable[Run]) -> tuple[list[Recipe], dict[Path, str]]:
    """Groups the runs whose configs differ only in the seed.

    Returns:
        The recipes, sorted by dataset and descending test accuracy, and the reason for each run
        that is left out: a later run has the same recipe and seed.
    """
    seeds: dict[frozenset, dict[int, Run]] = defaultdict(dict)
    left_out: dict[Path, str] = {}
    for run in runs:
        same_recipe = seeds[frozenset(_settings(run).items())]
        if before := same_recipe.pop(run.results["seed"], None):
            left_out[before.folder] = f"repeated, with the same seed, by {run.folder}"
        same_recipe[run.results["seed"]] = run
    groups = [tuple(by_seed[seed] for seed in sorted(by_seed)) for by_seed in seeds.values()]
    named = zip(_names(groups), groups, strict=True)
    recipes = [Recipe(config, notes, members) for (config, notes), members in named]
    recipes.sort(key=lambda recipe: (recipe.dataset, -recipe.mean("test_accuracy"), recipe.name))
    return recipes, left_out


def _names(groups: Sequence[tuple[Run, ...]]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """For each group the name of the config, and the settings that distinguish equal names."""
    titles = []
    for runs in groups:
        name = Counter(run.results["config"] for run in runs).most_common(1)[0][0]
        titles.append((name, runs[0].results["dataset"], runs[0].recipe is None))
    for title, runs in zip(titles, groups, strict=True):
        others = [
            _settings(other[0]) for t, other in zip(titles, groups, strict=True) if t == title
        ]
        notes = _differences(_settings(runs[0]), others)
        if title[2] and (*title[:2], False) in titles:
            notes.insert(0, "no config.yaml")
        yield title[0], tuple(notes)


def _settings(run: Run) -> dict[str, Any]:
    """The settings of a run that affect the result, by dotted name."""
    if run.recipe is None:
        return {field: run.results[field] for field in FIELDS}
    images = run.results.get("images")  # which the folder's name does not tell
    return run.recipe | ({"images": images} if images else {})


def _differences(own: dict[str, Any], others: Sequence[dict[str, Any]]) -> list[str]:
    """The settings, as text, in which one recipe differs from any of the others."""
    keys = dict.fromkeys(key for settings in others for key in settings)
    differing = [key for key in keys if len({repr(s.get(key)) for s in others}) > 1]
    # The arguments of a different class are left out, unless they distinguish recipes.
    classes = [key.removesuffix("class_path") for key in differing if key.endswith("class_path")]
    brief = [
        key
        for key in differing
        if not key.startswith(tuple(f"{c}init" for c in classes))
        or all(key in s for s in others)
        or len({repr(s[key]) for s in others if key in s}) > 1
    ]
    is_enough = len({repr([s.get(key) for key in brief]) for s in others}) == len(others)
    names = _short_names(brief if is_enough else differing)
    return [
        f"{name} {str(own[key]).rpartition('.')[2] if 'class_path' in key else own[key]}"
        for key, name in names.items()
        if key in own
    ]


def _short_names(keys: Sequence[str]) -> dict[str, str]:
    """The last words of the keys, as many as it takes to tell them apart."""
    words = {
        key: re.sub(r"\.(init_args|class_path)\b", "", re.sub(r"callbacks\.\d+", "callback", key))
        for key in keys
    }
    names = {}
    for key, text in words.items():
        parts, others = text.split("."), [f".{other}" for other in words.values() if other != text]
        ends = [".".join(parts[-number:]) for number in range(1, len(parts) + 1)]
        names[key] = next((e for e in ends if not any(o.endswith(f".{e}") for o in others)), text)
    return names
