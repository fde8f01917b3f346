"""A study of runs, which chooses values on the validation set."""
