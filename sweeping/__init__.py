"""Hyperparameter search: a study of runs, compared on the validation set."""
