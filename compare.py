"""Compares finished runs: python compare.py [RUNS ...] [--out DIR]."""

from pathlib import Path

from comparison.figures import write_figures
from comparison.finished_runs import read_runs
from comparison.recipes import group
from comparison.tables import terminal_notes, terminal_table, write_tables
from terminal.console import console
from terminal.errors import UserError, one_line_errors, printable, raising
from terminal.scripts import OneLineParser


def main() -> None:
    with one_line_errors():
        parser = OneLineParser("Compares finished runs in a table and plots.")
        parser.add_argument(
            "runs",
            nargs="*",
            type=Path,
            default=[Path("runs")],
            help="folders of runs, or folders that contain such; default: runs",
        )
        parser.add_output_folder("runs/comparison", "the tables and figures")
        options = parser.parse_args()
        runs, left_out = read_runs(options.runs)
        recipes, repeated = group(runs)
        left_out |= repeated
        if not recipes:
            first = "".join(f" {folder}: {reason}." for folder, reason in [*left_out.items()][:1])
            raise UserError(f"no finished run in {', '.join(map(str, options.runs))}.{first}")
        console.print(terminal_table(recipes))
        if notes := [*terminal_notes(recipes)]:
            console.print("\n" + "\n".join(notes), soft_wrap=True, markup=False)
        if left_out:
            console.print("\n[bold]left out[/bold]")
            for folder, reason in left_out.items():
                line = printable(f"{folder}: {reason}")
                console.print(line, soft_wrap=True, markup=False)
        with raising(OSError, advice=". Name another folder by --out."):
            files = [*write_tables(options.out, recipes), *write_figures(options.out, recipes)]
        line = printable(f"{options.out}: {', '.join(files)}")
        console.print(f"\n{line}", soft_wrap=True, markup=False)


if __name__ == "__main__":
    main()
