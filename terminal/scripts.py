"""Argument parsers of the scripts that read a checkpoint."""

import os
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any, NoReturn

from terminal.devices import limit_threads
from terminal.errors import UserError

PICTURES = (".png", ".pdf", ".svg", ".jpg")


class OneLineParser(ArgumentParser):
    """An argument parser that raises `UserError` on wrong use."""

    def __init__(self, description: str) -> None:
        super().__init__(description=description, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}. See python {self.prog} --help.")

    def add_output_folder(self, default: str, contents: str) -> None:
        """Adds the option `--out`, a folder for `contents`; argparse checks the default too."""
        self.add_argument(
            "--out",
            type=output_folder,
            default=default,
            metavar="DIR",
            help=f"folder for {contents}; default: {default}",
        )

    def add_output_file(
        self, option: str, contents: str, *endings: str, default: str | None = None
    ) -> None:
        """Adds an option that names a file for `contents`, which must end in one of `endings`."""
        ends = " or ".join(endings) + (f"; default: {default}" if default else "")
        self.add_argument(
            option,
            type=output_file(*endings),
            default=default,
            metavar="FILE",
            help=f"file for {contents}: {ends}",
        )

    def parse_args(self, *args: Any, **kwargs: Any) -> Namespace:
        """Parses the options and checks that no two name the same file.

        Raises:
            UserError: If two do, or an option is invalid.
        """
        options = super().parse_args(*args, **kwargs)
        files = [(name, path) for name, path in vars(options).items() if isinstance(path, Path)]
        for (name, path), (other, same) in combinations(files, 2):
            if os.path.realpath(path) == os.path.realpath(same):
                self.error(f"{name} and {other} are both {path}")
        return options


class ScriptParser(OneLineParser):
    """The argument parser of a script that reads one checkpoint."""

    def __init__(self, description: str) -> None:
        super().__init__(description)
        limit_threads()
        self.add_argument(
            "checkpoint",
            type=Path,
            help="a best.ckpt or last.ckpt of a run, or a file of weights alone",
        )
        self.add_argument(
            "--config",
            type=Path,
            metavar="FILE",
            help="the config that weights alone were trained by; a checkpoint needs none",
        )
        self.add_argument(
            "--data.root",
            dest="root",
            metavar="DIR",
            help="folder of the datasets, as in the training",
        )
        self.add_argument(
            "--data.cache",
            dest="cache",
            metavar="DIR",
            help="folder in which decoded images are kept, if the dataset keeps any",
        )
        self.add_argument(
            "--trust_classes",
            action="store_true",
            help="allow classes that are not part of this project or of its libraries: loading the "
            "checkpoint then runs their code",
        )


def output_file(*endings: str) -> Callable[[str], Path]:
    """Type of an option that names an output file, which must end in one of `endings`.

    So no file of another type is overwritten.
    """

    def check(text: str) -> Path:
        path = Path(os.path.realpath(text))
        if path.suffix.lower() not in endings:
            raise ArgumentTypeError(f"{text} does not end in {', '.join(endings)}")
        if path.exists() and not path.is_file():
            raise ArgumentTypeError(f"{text} is not a regular file")
        changed = path if path.exists() else path.parent
        if not path.parent.is_dir() or not os.access(changed, os.W_OK):
            raise ArgumentTypeError(f"cannot write {text}")
        return Path(text)

    return check


def output_folder(text: str) -> Path:
    """Type of an option that names an output folder."""
    path = Path(text)
    if path.exists() and not path.is_dir():
        raise ArgumentTypeError(f"{path} is not a folder")
    whole = path.absolute()
    there = next(part for part in (whole, *whole.parents) if part.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise ArgumentTypeError(f"cannot write {text}")
    return path
