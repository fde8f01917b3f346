"""Trains a network: python train.py --config configs/lenet.yaml [--KEY VALUE ...].

The same command with the same --run_dir resumes a killed run.
"""

import sys
from typing import TYPE_CHECKING

from terminal.errors import one_line_errors
from training.help import print_help

if TYPE_CHECKING:
    from terminal.run_folder import RunFolder
    from training.cli import TrainingCLI


def main() -> None:
    with one_line_errors():
        if print_help(sys.argv[1:]):
            return
        from training.cli import TrainingCLI  # takes seconds, and help should not
        from training.processes import settings_restored

        with settings_restored():
            cli = TrainingCLI()
            with cli.open_run() as run:
                train(cli, run)


def train(cli: "TrainingCLI", run: "RunFolder") -> None:
    """Fits, tests the best checkpoint and writes the results; in every process."""
    import torch

    from terminal.console import print_facts
    from training.results import collect_results, write_results

    trainer, is_first = cli.trainer, cli.trainer.is_global_zero
    if cli.is_finished:
        if is_first:
            print(f"{run.path} is finished: {run.results} has its figures.")
        return
    if is_first:
        print_facts(cli.facts())
    trainer.fit(cli.model, cli.datamodule, ckpt_path=cli.resume_from)
    if trainer.overfit_batches:
        return  # the test set is only for real runs
    # Only the weights: with ckpt_path, callbacks would return to the best epoch, and average.
    best = trainer.strategy.load_checkpoint(run.best)
    cli.model.load_state_dict(best["state_dict"])
    torch.set_float32_matmul_precision("highest")  # as evaluate.py
    test_metrics = trainer.test(cli.model, cli.datamodule, verbose=False)[0]
    if is_first:
        results = collect_results(cli, test_metrics)
        if not cli.is_trial:
            write_results(run, results)
        print_facts(cli.facts_of(results))


if __name__ == "__main__":
    main()
