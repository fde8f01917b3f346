"""What a person types and reads: arguments, errors of one line, tables, files."""
