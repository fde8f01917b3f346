"""Lets libraries be imported where there is no home, as in a container. Import it before them.

torch and matplotlib need a folder for temporary files. Where the whole file system is read-only,
Linux still has one in memory, /dev/shm.
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


logging.getLogger("matplotlib").setLevel(logging.ERROR)  # without a home it warns at each start
with one_line_errors():
    _find_temporary_folder()
