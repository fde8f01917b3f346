"""Runs a script on any input, and checks the promises of every script."""

import contextlib
import io
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

from tests.conftest import Finished
from tests.fuzz.watching import watched


def run_watched(
    main: Callable[[], None], *args: object, inputs: Path, writable: list[Path]
) -> Finished:
    """Runs the `main` of a script, in this process and the folder `inputs`, monitored.

    Raises:
        AssertionError: If it ends otherwise than with status 0, or with 2 and one line for the
            error, or one for each thing left out.
        Exception: What would be a traceback.
    """
    out, err = io.StringIO(), io.StringIO()
    status, before = 0, sys.argv
    sys.argv = [f"{main.__module__}.py", *map(str, args)]
    try:
        with (
            contextlib.chdir(inputs),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            warnings.catch_warnings(record=True) as of_libraries,
            watched(inputs, writable),
        ):
            warnings.simplefilter("default")
            main()
    except SystemExit as exit:
        status = exit.code or 0
    finally:
        sys.argv = before
    assert not of_libraries, of_libraries[0].message
    lines = err.getvalue().splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    assert status in (0, 2), status
    assert len(errors) <= (status == 2) <= len(lines), lines
    assert all(line.startswith(("error: ", "warning: ")) for line in lines), lines
    assert not any(line.removeprefix("error:").strip(" .") == "" for line in lines), lines
    assert all(char.isprintable() or char == "\n" for char in out.getvalue() + err.getvalue())
    return Finished(status, out.getvalue(), err.getvalue())
