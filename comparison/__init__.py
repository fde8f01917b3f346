"""Compares finished runs: reads them, groups them by recipe, makes tables and figures."""

import terminal  # noqa: F401 - before any library
