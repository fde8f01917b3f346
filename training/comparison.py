"""Finished runs as recipes, a recipe being what runs have in common that differ in the seed."""

import csv
import json
import re
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from training.atomic import write_atomically
from training.finished_runs import Run

# What tells recipes apart where there is no config.yaml.
FIELDS = ("config", "net", "dataset", "image_size", "epochs", "precision")


@dataclass(frozen=True)
class Recipe:
    """Runs that differ in the seed alone.

    Attributes:
        name: That of the config, and the settings that set it apart from others of that name.
        runs: One for each seed.
    """

    name: str
    runs: tuple[Run, ...]

    def mean(self, field: str) -> float | None:
        """Mean of a field of the results; None where no run has it."""
        values = self._values(field)
        return statistics.fmean(values) if values else None

    def std(self, field: str) -> float | None:
        """Sample standard deviation of a field over the seeds; None for a single one."""
        values = self._values(field)
        return statistics.stdev(values) if len(values) > 1 else None

    def told(self, field: str) -> str:
        """The values of a field that is text, each once."""
        return "; ".join(dict.fromkeys(str(run.results[field] or "") for run in self.runs))

    @property
    def dataset(self) -> str:
        return self.runs[0].results["dataset"]

    @property
    def net(self) -> str:
        """Name of the function or class that makes the network."""
        return self.runs[0].results["net"].rpartition(".")[2]

    def _values(self, field: str) -> list[float]:
        return [value for run in self.runs if (value := run.results[field]) is not None]


def group(runs: Iterable[Run]) -> tuple[list[Recipe], dict[Path, str]]:
    """Makes one recipe of the runs whose configs differ in the seed alone.

    Returns:
        The recipes by dataset and falling test accuracy, and the reason for each run that is left
        out: a later one has its recipe and its seed.
    """
    seeds: dict[str, dict[int, Run]] = defaultdict(dict)
    left_out: dict[Path, str] = {}
    for run in runs:
        same_recipe = seeds[_identity(run)]
        if before := same_recipe.pop(run.results["seed"], None):
            left_out[before.folder] = f"repeated, with the same seed, by {run.folder}"
        same_recipe[run.results["seed"]] = run
    groups = [tuple(by_seed[seed] for seed in sorted(by_seed)) for by_seed in seeds.values()]
    recipes = [Recipe(name, members) for name, members in zip(_names(groups), groups, strict=True)]
    recipes.sort(key=lambda recipe: (recipe.dataset, -recipe.mean("test_accuracy"), recipe.name))
    return recipes, left_out


def _identity(run: Run) -> str:
    fields = {field: run.results[field] for field in FIELDS}
    return json.dumps(fields if run.config is None else run.config, sort_keys=True, default=str)


def _names(groups: Sequence[tuple[Run, ...]]) -> list[str]:
    """A name for each group of runs: the config's, and what tells it from others of that name."""
    titles = []
    for runs in groups:
        name = Counter(run.results["config"] for run in runs).most_common(1)[0][0]
        titles.append((name, runs[0].results["dataset"], runs[0].config is None))
    names = []
    for title, runs in zip(titles, groups, strict=True):
        others = [
            _settings(other[0]) for t, other in zip(titles, groups, strict=True) if t == title
        ]
        notes = _differences(_settings(runs[0]), others)
        if title[2] and (*title[:2], False) in titles:
            notes.insert(0, "no config.yaml")
        names.append(f"{title[0]} ({', '.join(notes)})" if notes else title[0])
    return names


def _settings(run: Run) -> dict[str, Any]:
    """The settings of a run by their dotted names."""
    settings: dict[str, Any] = {}

    def walk(name: str, value: Any) -> None:
        if isinstance(value, dict | list) and value:
            parts = value.items() if isinstance(value, dict) else enumerate(value)
            for key, part in parts:
                walk(f"{name}.{key}" if name else str(key), part)
        else:
            settings[name] = value

    walk("", {field: run.results[field] for field in FIELDS} if run.config is None else run.config)
    return settings


def _differences(own: dict[str, Any], others: Sequence[dict[str, Any]]) -> list[str]:
    """The settings, in words, in which one of several recipes differs from another of them."""
    keys = dict.fromkeys(key for settings in others for key in settings)
    differing = [key for key in keys if len({repr(s.get(key)) for s in others}) > 1]
    # The arguments that come with another class need no mention, unless they have to tell apart.
    classes = [key.removesuffix("class_path") for key in differing if key.endswith("class_path")]
    brief = [
        key
        for key in differing
        if all(key in s for s in others) or not key.startswith(tuple(f"{c}init" for c in classes))
    ]
    is_enough = len({repr([s.get(key) for key in brief]) for s in others}) == len(others)
    return [
        f"{_shorten(key)} {str(own[key]).rpartition('.')[2] if 'class_path' in key else own[key]}"
        for key in (brief if is_enough else differing)
        if key in own
    ]


def _shorten(key: str) -> str:
    parts = [part for part in key.split(".") if part not in ("class_path", "init_args")]
    is_clear = len(parts) > 1 and parts[0] in ("model", "data", "trainer")
    return ".".join(parts[1:] if is_clear else parts)


def terminal_table(recipes: Iterable[Recipe]) -> Table:
    """The columns that fit a terminal of 80 columns, under a line for each dataset."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), collapse_padding=True)
    table.add_column("", overflow="fold")
    head = ("params\n(M)", "MACs\n(M)", "\nepochs", "\nseeds", "test acc.\n(%)", "\ntime")
    for name in (*head, "images\n/s"):
        justify = "left" if "acc" in name else "right"  # a single seed has no deviation
        table.add_column(name, justify=justify, no_wrap=True)
    dataset = None
    for recipe in recipes:
        if recipe.dataset != dataset:
            if dataset:
                table.add_row("")
            dataset = recipe.dataset
            table.add_row(f"[bold]{escape(dataset)}[/bold]")
        table.add_row(
            escape(recipe.name),
            three_digits(recipe.mean("parameters") / 1e6),
            three_digits(recipe.mean("macs") / 1e6),
            f"{recipe.mean('epochs'):.0f}",
            str(len(recipe.runs)),
            _percent(recipe, "test_accuracy"),
            _duration(recipe.mean("train_seconds")),
            three_digits(recipe.mean("images_per_second")),
        )
    return table


def write_tables(folder: Path, recipes: Sequence[Recipe]) -> list[str]:
    """Writes the tables for people and for programs, and returns the names of the files."""
    write_atomically(folder / "results.md", lambda path: write_markdown(path, recipes))
    write_atomically(folder / "results.csv", lambda path: write_csv(path, recipes))
    return ["results.md", "results.csv"]


def write_markdown(path: Path, recipes: Iterable[Recipe]) -> None:
    """Writes all columns as a table in Markdown."""
    rows = [
        {
            "dataset": recipe.dataset,
            "recipe": recipe.name,
            "network": recipe.net,
            "image size": f"{recipe.mean('image_size'):.0f}",
            "parameters (M)": three_digits(recipe.mean("parameters") / 1e6),
            "MACs (M)": three_digits(recipe.mean("macs") / 1e6),
            "epochs": f"{recipe.mean('epochs'):.0f}",
            "seeds": str(len(recipe.runs)),
            "val accuracy (%)": _percent(recipe, "val_accuracy"),
            "test accuracy (%)": _percent(recipe, "test_accuracy"),
            "test loss": f"{recipe.mean('test_loss'):.4f}",
            "training time": _duration(recipe.mean("train_seconds")),
            "images/s": three_digits(recipe.mean("images_per_second")),
            "peak memory (GiB)": three_digits(recipe.mean("peak_memory_bytes") / 2**30),
            "precision": recipe.told("precision"),
            "device": _devices(recipe),
            "commit": re.sub(r"\b([0-9a-f]{7})[0-9a-f]{33}", r"\1", recipe.told("commit")),
        }
        for recipe in recipes
    ]
    texts = ("dataset", "recipe", "network", "precision", "device", "commit")
    lines = [list(rows[0]), ["---" if key in texts else "---:" for key in rows[0]]]
    lines += [[cell.replace("|", "\\|") for cell in row.values()] for row in rows]
    note = "Mean ± sample standard deviation over the seeds; other columns are means."
    text = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    path.write_text(f"{text}\n\n{note}\n", encoding="utf-8")


def write_csv(path: Path, recipes: Iterable[Recipe]) -> None:
    """Writes a row for each recipe with plain numbers: fractions, seconds, bytes."""
    counts = ("image_size", "parameters", "macs", "epochs", "world_size")
    measures = (
        *("val_accuracy", "test_accuracy", "test_loss"),
        *("train_seconds", "images_per_second", "peak_memory_bytes"),
    )
    rows = [
        {"recipe": recipe.name}
        | {field: recipe.told(field) for field in ("config", "net", "dataset")}
        | {field: f"{recipe.mean(field):.15g}" for field in counts}
        | {"seeds": " ".join(str(run.results["seed"]) for run in recipe.runs)}
        | {
            f"{field}_{name}": value
            for field in measures
            for name, value in (("mean", recipe.mean(field)), ("std", recipe.std(field)))
        }
        | {field: recipe.told(field) for field in ("precision", "device", "commit")}
        for recipe in recipes
    ]
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def three_digits(value: float) -> str:
    """A number to three significant digits, without an exponent."""
    return f"{value:,.0f}" if value >= 100 else f"{value:#.3g}"


def _percent(recipe: Recipe, field: str) -> str:
    mean, std = recipe.mean(field), recipe.std(field)
    if mean is None:
        return "–"  # noqa: RUF001
    return f"{mean:.2%}".rstrip("%") + (f" ± {100 * std:.2f}" if std is not None else "")


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _devices(recipe: Recipe) -> str:
    processes = int(recipe.mean("world_size"))
    return f"{processes} x {recipe.told('device')}" if processes > 1 else recipe.told("device")
