"""Prints name-value pairs and tables to the terminal."""

import logging
import warnings
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from terminal.errors import printable

console = Console(highlight=False)


def filter_known_warnings() -> None:
    """Hides tips, advertisements and warnings that a user cannot act on."""
    for name in ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("lightning.pytorch.profilers").setLevel(logging.INFO)  # only on request
    for message in (
        ".*does not have many workers.*",  # the data are in memory
        ".* ends after .*, and the training after .*",  # reported in one line before the start
        ".*but have no logger configured.*",  # the user's choice
        ".*GPU available but not used.*",  # too
        ".*smaller than the logging interval.*",  # scalars are logged once an epoch
        ".*in eval mode at the start of training.*",  # batch norms of frozen parts
        ".*LightningCLI's args parameter is intended.*",  # sweep.py passes it for each trial
        "To exit: use 'exit'",  # a notebook's, when a cell is interrupted: Lightning exits
        ".*`isinstance\\(treespec, LeafSpec\\)` is deprecated.*",
    ):
        warnings.filterwarnings("ignore", message)


def print_facts(facts: dict[str, str]) -> None:
    """Prints names and values in two columns."""
    width = max(map(len, facts)) + 2
    lines = (f"[bold]{k:<{width}}[/bold]{escape(printable(value))}" for k, value in facts.items())
    console.print("\n".join(lines), soft_wrap=True)  # one output of a notebook's cell


def print_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Prints rows below a header; the first column is left-aligned, the others right-aligned."""
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for index, name in enumerate(head):
        table.add_column(name, justify="right" if index else "left")
    for row in rows:
        table.add_row(*map(escape, map(printable, row)))
    console.print(table)
