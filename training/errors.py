"""What a user does wrong is answered in one line; a bug in the code keeps its traceback."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from datamodules import DatasetError


class UserError(Exception):
    """Something the user can put right. The message names the thing and the way out."""


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Prints a `UserError` as one line on stderr and exits with status 2."""
    try:
        yield
    except (UserError, DatasetError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)


@contextmanager
def raising(*kinds: type[Exception], advice: str = "") -> Iterator[None]:
    """Turns exceptions of the given kinds into a `UserError`, with advice on the way out."""
    try:
        yield
    except kinds as error:
        raise UserError(f"{shorten(str(error))}{advice}") from error


def shorten(message: str) -> str:
    """The gist of a jsonargparse message, which is a tree of all that it tried.

    The key that the problem is in and the innermost problem; other messages stay as they are.
    """
    keys = re.findall(r'Parser key "([\w.]+)"', message)
    problems = re.findall(
        r"Option '.*?' is not accepted|No module named '.*?'|module '.*?' has no attribute '.*?'"
        r"|[Uu]nrecognized arguments: .*|File does not exist: .*|Expected a .*?\. Got value: .*"
        r"|Key '.*?' is required.*|Value .*? is not .*|(?:while scanning|while parsing) .*",
        message,
    )
    # What a union tries last is None: of no help to anyone who gave a value.
    problems = [p for p in problems if "NoneType" not in p and "a path but" not in p]
    if not problems:
        return message
    key = ".".join(dict.fromkeys(".".join(keys).split(".")))
    return f"{key}: {problems[0]}" if key else problems[0]
