"""Compares finished runs: reads them, groups them by recipe, makes tables and figures."""
