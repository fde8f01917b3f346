"""From a command line to a finished run: command line, checks, recipe, processes, results."""
