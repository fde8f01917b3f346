"""Searches hyperparameters: python sweep.py --config configs/lenet.yaml --space FILE --trials 9."""

import shlex
from pathlib import Path

from terminal.console import console, print_facts
from terminal.errors import UserError, one_line_errors
from terminal.scripts import OneLineParser


def main() -> None:
    with one_line_errors():
        parser = OneLineParser(
            "Trains a config with different hyperparameters and finds the best on the validation "
            "set. The same command resumes the sweep. Other options, such as --config, are passed "
            "to train.py."
        )
        parser.add_argument(
            "--space",
            type=Path,
            required=True,
            metavar="FILE",
            help="the values to choose from, for each key: such as configs/spaces/lenet.yaml",
        )
        parser.add_argument(
            "--trials", type=int, default=20, help="trainings, with earlier ones; default: 20"
        )
        parser.add_argument(
            "--run_dir", type=Path, metavar="DIR", help="default: runs/sweep/<name of the space>"
        )
        options, arguments = parser.parse_known_args()
        try:
            from sweeping.spaces import as_arguments, read_space
            from sweeping.study import Sweep
        except ModuleNotFoundError as error:
            raise UserError(f"{error.name} is missing: pip install -e '.[sweep]'.") from error
        folder = options.run_dir or Path("runs") / "sweep" / options.space.stem
        with Sweep(folder, read_space(options.space), arguments) as sweep:
            if len(sweep.finished) < options.trials:
                console.print(sweep.head(), soft_wrap=True, markup=False)
            while len(sweep.finished) < options.trials:
                line = sweep.describe(sweep.run_trial())
                console.print(line, soft_wrap=True, markup=False)
            best = sweep.best
        command = ["python", "train.py", *arguments, *as_arguments(best.params)]
        print_facts(
            {
                "best": f"{best.value:.2%} of the validation images, {sweep.folder_of(best)}",
                "again": shlex.join(command),
                "look": f"tensorboard --logdir {folder}",
            }
        )


if __name__ == "__main__":
    main()
