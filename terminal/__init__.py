"""Terminal input and output: arguments, one-line errors, tables, files."""
