"""Reports a user's mistake in one line; a bug in the code keeps its traceback."""

import ctypes
import errno
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

SIGPIPE = 13  # the signal module of Windows does not name it
DISK_IS_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# What libraries say about a mistake of the user's, and what to do about it.
KNOWN = (
    (  # in the words of torch, of torch on Windows and of triton
        r"No working C\+\+ compiler|Compiler: .* is not found|Failed to find C compiler",
        "model.compile needs a C++ compiler, and there is none: install one (g++, on Windows "
        "MSVC), or leave out --model.compile.",
    ),
    (
        r"parameters that were not used in producing the loss",
        "the network leaves some of its parameters out of the loss: use them or, if that is "
        "intended, set --trainer.strategy ddp_find_unused_parameters_true.",
    ),
)
FULL = "the memory is full. Smaller batches or images need less (data.batch_size, data.image_size)."

# The parts of a jsonargparse message.
KEY = r'Parser key "([\w.]+)": ?'
CALLABLE = r"^Type .*? expects a function or a callable class: "
# Lines that only locate the problem in the tree, or say that the value is not None.
BRANCH = (
    r"Parser key|Does not validate|Subtypes:|Errors:|Expected a <class 'NoneType'>|Given value"
    r"|Expected a path|Problem with given class_path|Subclass types expect|a class path \(str\)"
    r"|a dict with"
)
# A type mismatch is less informative than an error within the class that the value names.
TYPES = r"Expected a |Import path .* does not correspond|Not a valid subclass"
PLAIN = (
    (r"Option '(.*?)' is not accepted", r"there is no option '\1'"),
    (r"^Expected a typing\.Literal\[(.*?)\]\. Got value: (.*)", r"'\2' is not one of \1"),
    (r"Expected a typing\.Literal", "expected one of "),
    (r"Expected a <class '(.*?)'>", r"expected \1"),
    (r" or expected (?!one)", " or "),
    (r" or Expected a dot import path string: (.*)", r", got \1"),
    (r"\. Got value: (.*)", r", got \1"),
)


class UserError(Exception):
    """A mistake that the user can correct. The message says what is wrong and how to fix it."""


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Prints a `UserError` or a system error as one line on stderr, and exits with status 2.

    Ctrl-C prints one line too, with status 130, as shells use for it. A character that the console
    cannot show is printed as an escape sequence.
    """
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # as stderr has it
    try:
        yield
        sys.stdout.flush()  # the interpreter's own, after this, would show a traceback
    except UserError as error:
        _print("error", str(error))
        sys.exit(2)
    except OSError as error:  # of the system, not a bug
        if _is_of_a_closed_pipe(error):  # the reader of stdout has ended, such as head
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(128 + SIGPIPE)
        way_out = ". Free some space, and give the same command again"
        _print("error", f"{error}{way_out if error.errno in DISK_IS_FULL else ''}.")
        sys.exit(2)
    except (RuntimeError, MemoryError) as error:
        told = next((told for pattern, told in KNOWN if re.search(pattern, str(error))), None)
        if _is_of_memory(error):
            told = FULL
        if told is None:
            raise
        _print("error", told)
        sys.exit(2)
    except KeyboardInterrupt as error:
        _print("stopped", str(error) or "before it was done.")
        sys.exit(130)


def warn(message: str) -> None:
    """Prints a warning of one line on stderr."""
    _print("warning", message)


def _is_of_a_closed_pipe(error: OSError) -> bool:
    """Windows calls a write to a closed pipe an invalid argument; it names no file."""
    is_of_windows = hasattr(ctypes, "windll") and error.errno == errno.EINVAL
    return isinstance(error, BrokenPipeError) or (is_of_windows and error.filename is None)


def _is_of_memory(error: Exception) -> bool:
    """Whether an error means out of memory; torch has no exception class for it on the CPU."""
    names = {kind.__name__ for kind in type(error).__mro__}
    return bool(names & {"MemoryError", "OutOfMemoryError"}) or "can't allocate" in str(error)


def _print(kind: str, message: str) -> None:
    # All processes of a machine find the same error: only the first prints it.
    if os.environ.get("LOCAL_RANK", os.environ.get("SLURM_LOCALID", "0")) == "0":
        print(f"{kind}: {printable(' '.join(message.split()))}", file=sys.stderr)


def printable(text: str) -> str:
    r"""Escapes control and other unprintable characters of a text: `\x1b`."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


@contextmanager
def raising(*kinds: type[Exception], advice: str = "") -> Iterator[None]:
    """Turns exceptions of the given kinds into a `UserError` that ends with `advice`."""
    try:
        yield
    except kinds as error:
        raise UserError(f"{shorten(str(error))}{advice}") from error


def shorten(message: str) -> str:
    """Shortens a jsonargparse message, which is a tree of everything it tried.

    Returns the key and the innermost problem; other messages are returned unchanged.
    """
    lines = [line.strip().removeprefix("- ") for line in message.splitlines()]
    if not any(re.match(BRANCH, line) for line in lines):
        return message
    lines = [re.sub(CALLABLE, "", line).partition(". Got value: Namespace(")[0] for line in lines]
    keys = [match[1] for line in lines if (match := re.match(KEY, line))]
    problems = [re.sub(KEY, "", line) for line in lines]
    problems = [problem for problem in problems if problem and not re.match(BRANCH, problem)]
    telling = [problem for problem in problems if not re.match(TYPES, problem)]
    if telling:
        problem = telling[-1]
    else:
        named = [problem for problem in problems if problem.startswith("Import path")]
        expected = [problem for problem in problems if problem.startswith("Expected a ")]
        problem = " or ".join(dict.fromkeys(expected or named[-1:] or problems))
    for pattern, plain in PLAIN:
        problem = re.sub(pattern, plain, problem)
    # A union repeats the key for each type that it tries.
    key = ".".join(dict.fromkeys(".".join(keys).split(".")))
    return f"{key}: {problem}" if key else problem
