"""Tables of a comparison: for the terminal, in Markdown and as CSV."""

import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from comparison.recipes import Recipe
from terminal.atomic import write_atomically
from terminal.errors import printable


def terminal_table(recipes: Sequence[Recipe]) -> Table:
    """A table that fits a terminal of 80 columns, with a heading for each dataset.

    Numbers in brackets refer to `terminal_notes`.
    """
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), collapse_padding=True)
    table.add_column("", overflow="fold")
    head = ("params\n(M)", "MACs\n(M)", "\nepochs", "\nseeds", "test acc.\n(%)", "\ntime")
    for name in (*head, "images\n/s"):
        justify = "left" if "acc" in name else "right"  # a single seed has no deviation
        table.add_column(name, justify=justify, no_wrap=True)
    dataset = None
    for recipe, number in zip(recipes, _numbers(recipes), strict=True):
        if recipe.dataset != dataset:
            if dataset:
                table.add_row("")
            dataset = recipe.dataset
            table.add_row(f"[bold]{escape(printable(dataset))}[/bold]")
        table.add_row(
            escape(f"{printable(recipe.config)} {number}".rstrip()),
            three_digits(recipe.mean("parameters") / 1e6),
            three_digits(recipe.mean("macs") / 1e6),
            f"{recipe.mean('epochs'):.0f}",
            str(len(recipe.runs)),
            percent(recipe, "test_accuracy"),
            duration(recipe.mean("train_seconds")),
            three_digits(recipe.mean("images_per_second")),
        )
    return table


def terminal_notes(recipes: Sequence[Recipe]) -> Iterator[str]:
    """What distinguishes recipes of the same config: `[1] lr 0.1, image_size 64: runs/lenet/3`."""
    for recipe, number in zip(recipes, _numbers(recipes), strict=True):
        if number:
            notes = f"{', '.join(recipe.notes)}: " if recipe.notes else ""
            folders = ", ".join(str(run.folder) for run in recipe.runs)
            yield printable(f"{number} {notes}{folders}")


def _numbers(recipes: Sequence[Recipe]) -> list[str]:
    """`[1]`, `[2]` and so on for recipes that share a config and a dataset, empty for others."""
    shared = Counter((recipe.config, recipe.dataset) for recipe in recipes)
    numbers = count(1)
    return [
        f"[{next(numbers)}]" if shared[recipe.config, recipe.dataset] > 1 else ""
        for recipe in recipes
    ]


def write_tables(folder: Path, recipes: Sequence[Recipe]) -> list[str]:
    """Writes the tables in Markdown and as CSV, and returns the names of the files."""
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
            "val accuracy (%)": percent(recipe, "val_accuracy"),
            "test accuracy (%)": percent(recipe, "test_accuracy"),
            "test loss": f"{recipe.mean('test_loss'):.4f}",
            "training time": duration(recipe.mean("train_seconds")),
            "processor time": duration(recipe.mean("train_cpu_seconds")),
            "images/s": three_digits(recipe.mean("images_per_second")),
            "peak memory (GiB)": three_digits(recipe.mean("peak_memory_bytes") / 2**30),
            "precision": recipe.told("precision"),
            "device": devices(recipe),
            "commit": re.sub(r"\b([0-9a-f]{7})[0-9a-f]{33}", r"\1", recipe.told("commit")),
        }
        for recipe in recipes
    ]
    texts = ("dataset", "recipe", "network", "precision", "device", "commit")
    lines = [list(rows[0]), ["---" if key in texts else "---:" for key in rows[0]]]
    lines += [[_as_it_is(cell) for cell in row.values()] for row in rows]
    note = "Mean ± sample standard deviation over the seeds; other columns are means."
    text = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    path.write_text(f"{text}\n\n{note}\n", encoding="utf-8")


def _as_it_is(text: str) -> str:
    """Escapes a text for a cell of a Markdown table."""
    return re.sub(r"([\\`*\[\]<>|&~$])", r"\\\1", printable(text))


def write_csv(path: Path, recipes: Iterable[Recipe]) -> None:
    """Writes a row for each recipe with plain numbers: fractions, seconds, bytes."""
    counts = ("image_size", "parameters", "macs", "epochs", "world_size")
    measures = (
        *("val_accuracy", "test_accuracy", "test_loss"),
        *("train_seconds", "train_cpu_seconds", "images_per_second", "peak_memory_bytes"),
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
    with open(path, "w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def three_digits(value: float) -> str:
    """A number to three significant digits, without an exponent."""
    return f"{value:,.0f}" if value >= 100 else f"{value:#.3g}"


def percent(recipe: Recipe, field: str) -> str:
    mean, std = recipe.mean(field), recipe.std(field)
    if mean is None:
        return "–"  # noqa: RUF001
    return f"{mean:.2%}".rstrip("%") + (f" ± {100 * std:.2f}" if std is not None else "")


def duration(seconds: float | None) -> str:
    if seconds is None:
        return ""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def devices(recipe: Recipe) -> str:
    processes = int(recipe.mean("world_size"))
    return f"{processes} x {recipe.told('device')}" if processes > 1 else recipe.told("device")
