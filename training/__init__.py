"""Trains a run from the command line: checks, recipe, processes, logging, results."""
