"""What the scripts that read a checkpoint have in common."""

import os
from argparse import ArgumentParser, ArgumentTypeError
from pathlib import Path
from typing import NoReturn

import torch

from training.errors import UserError
from training.threads import limit_threads

PICTURES = (".png", ".pdf", ".svg", ".jpg")


class OneLineParser(ArgumentParser):
    """Command line whose wrong use is a `UserError`."""

    def __init__(self, description: str) -> None:
        super().__init__(description=description, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}. See python {self.prog} --help.")


class ScriptParser(OneLineParser):
    """Command line of a script that reads one checkpoint."""

    def __init__(self, description: str) -> None:
        super().__init__(description)
        limit_threads()
        self.add_argument("checkpoint", type=Path, help="a best.ckpt or last.ckpt")
        self.add_argument("--data.root", dest="root", metavar="DIR", help="folder of the datasets")
        self.add_argument(
            "--trust_classes",
            action="store_true",
            help="also if the checkpoint names classes of others: that is running their code",
        )


def output_file(text: str) -> Path:
    """Type of an option that names a file to write."""
    path = Path(text)
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise ArgumentTypeError(f"cannot write {path}")
    return path


def output_folder(text: str) -> Path:
    """Type of an option that names a folder to write to."""
    path = Path(text)
    if path.exists() and not path.is_dir():
        raise ArgumentTypeError(f"{path} is no folder")
    return path


def picture_file(text: str) -> Path:
    """Type of an option that names a picture to draw."""
    path = output_file(text)
    if path.suffix.lower() not in PICTURES:
        raise ArgumentTypeError(f"a picture ends in {', '.join(PICTURES)}, not {path}")
    return path


def best_device() -> torch.device:
    """A GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
