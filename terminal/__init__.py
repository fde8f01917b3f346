"""Terminal input and output: arguments, one-line errors, tables, files."""

import terminal.surroundings  # noqa: F401 - before any library
