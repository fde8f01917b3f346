"""Finished runs side by side: read, grouped by recipe, as tables and figures."""
