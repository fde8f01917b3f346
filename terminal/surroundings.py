"""Lets the scripts import their libraries where there is no home, as in a container.

torchvision and torchmetrics need a folder for temporary files when they are imported, and
matplotlib one for its fonts. Where the whole file system is read-only, Linux still has one in
memory, /dev/shm.
"""

import logging
import os
import tempfile

from terminal.errors import UserError, one_line_errors

IN_MEMORY = "/dev/shm"


def _find_temporary_folder() -> None:
    try:
        tempfile.gettempdir()
    except FileNotFoundError as error:
        if not os.access(IN_MEMORY, os.W_OK):
            raise UserError(
                "no folder can be written for temporary files: name one by the variable TMPDIR."
            ) from error
        os.environ["TMPDIR"] = IN_MEMORY  # of the processes that are started too


if not os.access(os.path.expanduser("~"), os.W_OK):  # matplotlib would warn at each start
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
try:
    _find_temporary_folder()
except UserError:
    with one_line_errors():
        raise
