"""What surrounds the Trainer: command line, run folders, checkpoints, reproducibility, console."""
