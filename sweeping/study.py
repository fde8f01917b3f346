"""Runs the trials of a sweep, each a separate run, chosen and pruned by validation accuracy."""

import gc
import traceback
from pathlib import Path
from typing import Any

import optuna
import torch
from filelock import FileLock, Timeout
from lightning.pytorch import Callback, LightningModule, Trainer
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    distribution_to_json,
)
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from datamodules import DatasetError
from sweeping.spaces import as_arguments, points_to_check
from terminal.errors import UserError, warn
from training.cli import TrainingCLI

OUTCOMES = {TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}
STATES = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
INSTEAD_OF = "instead_of"  # user attribute: the number of the killed trial that this one resumes
FOLDER = "folder"  # user attribute: the folder of the killed trial
RECIPE = "recipe"  # user attribute of the study: the config and the space
WIDTH = 9  # minimum of a column: four significant digits and an exponent


class Sweep:
    """A study of trials that resumes from its folder.

    Args:
        folder: Folder of `sweep.db` and of the trials.
        space: The search space.
        arguments: The command line of every trial.
        seed: Seed of the choice of trials.

    Raises:
        UserError: If a value of the space cannot be trained, or if the folder holds another sweep,
            cannot be written or is in use by another process.
    """

    def __init__(
        self, folder: Path, space: dict[str, BaseDistribution], arguments: list[str], seed: int = 0
    ) -> None:
        # Fails here if a value cannot be trained, before anything is written.
        built = [TrainingCLI([*arguments, *as_arguments(p)]) for p in points_to_check(space)]
        if built[0].trainer.world_size > 1:
            raise UserError("the trials of a sweep train on one device: --trainer.devices 1.")
        if built[0].is_trial:
            raise UserError("a sweep saves its runs; fast_dev_run and overfit_batches do not.")
        if not built[0].trainer.limit_val_batches:
            raise UserError("a sweep compares trials on validation images: limit_val_batches is 0.")
        recipe = {
            "config": built[0].config_text,
            "space": {key: distribution_to_json(values) for key, values in space.items()},
        }
        del built
        self.folder = folder
        self.space = space
        self.arguments = arguments
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(folder / ".lock", timeout=0)
            self._lock.acquire()
        except Timeout as error:
            raise UserError(f"another process sweeps in {folder}.") from error
        except OSError as error:
            raise UserError(f"cannot write {folder}: {error}. Name another --run_dir.") from error
        try:
            self.study = self._open_study(recipe)
            self.study.sampler = optuna.samplers.TPESampler(seed=seed + len(self.study.trials))
            for trial in self.study.get_trials(states=(TrialState.RUNNING,)):
                self._go_on_with(trial)
        except BaseException:
            self._lock.release()
            raise

    def __enter__(self) -> "Sweep":
        return self

    def __exit__(self, *exception: object) -> None:
        self._lock.release()

    @property
    def finished(self) -> list[FrozenTrial]:
        """The trials that count: complete, pruned or failed, and not killed."""
        trials = self.study.get_trials(states=STATES)
        return [trial for trial in trials if trial.number not in self._continued()]

    def run_trial(self) -> FrozenTrial:
        """Trains the next trial until it completes, is pruned or fails.

        Raises:
            UserError, DatasetError, OSError: If any other trial would fail too, for example on a
                full disk. The trial is resumed at the next start.
        """
        gc.collect()  # frees GPU memory of the previous trial, which is in reference cycles
        trial = self.study.ask(self.space)
        try:
            value = self._train(trial)
        except optuna.TrialPruned:
            return self.study.tell(trial, state=TrialState.PRUNED)
        except (DatasetError, OSError):
            raise
        except Exception as error:  # it diverged, or these values are incompatible
            # torch reports a full disk as a RuntimeError that was raised from an OSError.
            causes = (error.__cause__, getattr(error.__cause__, "__context__", None))
            if any(isinstance(cause, OSError) for cause in causes):
                raise
            if not isinstance(error, UserError | torch.OutOfMemoryError):
                traceback.print_exc()  # a bug, perhaps only with these values
            message = str(error) or type(error).__name__
            warn(f"trial {self.folder_of(trial).name} has failed: {message}")
            trial.set_user_attr("error", message)
            return self.study.tell(trial, state=TrialState.FAIL)
        return self.study.tell(trial, value)

    @property
    def best(self) -> FrozenTrial:
        """The trial with the highest validation accuracy.

        Raises:
            UserError: If none was completed.
        """
        if not self.study.get_trials(states=(TrialState.COMPLETE,)):
            raise UserError(f"none of the {len(self.finished)} trials was completed.")
        return self.study.best_trial

    def head(self) -> str:
        """The column headings of `describe`."""
        names = (f"{name:>{width}}" for name, width in self._columns().values())
        return "  ".join([f"{'trial':>5}", f"{'val acc':>7}", f"{'best':>7}", *names])

    def describe(self, trial: FrozenTrial) -> str:
        """A row of the table: folder, accuracy or outcome, best accuracy so far, and the values."""
        is_complete = trial.state == TrialState.COMPLETE
        outcome = f"{trial.value:.2%}" if is_complete else OUTCOMES[trial.state]
        completed = self.study.get_trials(states=(TrialState.COMPLETE,))
        best = f"{self.best.value:.2%}" if completed else ""
        values = (
            f"{_shown(trial.params[key]):>{width}}" for key, (_, width) in self._columns().items()
        )
        name = self.folder_of(trial).name
        return "  ".join([f"{name:>5}", f"{outcome:>7}", f"{best:>7}", *values])

    def folder_of(self, trial: FrozenTrial | Trial) -> Path:
        return self.folder / str(trial.user_attrs.get(FOLDER, trial.number))

    def _train(self, trial: Trial) -> float:
        """Trains a trial and returns the best validation accuracy; the test set is not used."""
        cli = TrainingCLI(
            [
                *self.arguments,
                *as_arguments(trial.params),
                *("--run_dir", str(self.folder_of(trial))),
                *("--trainer.enable_progress_bar", "false"),
            ]
        )
        cli.trainer.callbacks.insert(0, ReportAndPrune(trial))
        with cli.open_run():
            cli.trainer.fit(cli.model, cli.datamodule, ckpt_path=cli.resume_from)
        if cli.keeper.best_score is None:
            raise UserError("it ended before its first validation.")
        return cli.keeper.best_score[0]

    def _open_study(self, recipe: dict[str, Any]) -> optuna.Study:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        file = self.folder / "sweep.db"
        try:
            study = optuna.create_study(
                storage=f"sqlite:///{file}",
                study_name="sweep",
                direction="maximize",
                pruner=optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=1),
                load_if_exists=True,
            )
        except SQLAlchemyError as error:
            raise UserError(f"{file} is damaged, or not a sweep's.") from error
        if study.user_attrs.get(RECIPE, recipe) != recipe:
            raise UserError(
                f"the sweep in {self.folder} has another config or space. Repeat its original "
                "command to resume it, or name another --run_dir."
            )
        study.set_user_attr(RECIPE, recipe)
        return study

    def _go_on_with(self, killed: FrozenTrial) -> None:
        """Queues a killed trial again, as the first, with its values and its folder."""
        # A start that was killed before `tell` may have queued it already.
        if killed.number not in self._continued():
            folder = killed.user_attrs.get(FOLDER, killed.number)
            attributes = {FOLDER: folder, INSTEAD_OF: killed.number}
            self.study.enqueue_trial(killed.params, user_attrs=attributes)
        self.study.tell(killed.number, state=TrialState.FAIL)

    def _continued(self) -> set[int | None]:
        """Numbers of the killed trials that another trial resumes."""
        return {trial.user_attrs.get(INSTEAD_OF) for trial in self.study.trials}

    def _columns(self) -> dict[str, tuple[str, int]]:
        """The heading of each key and its width."""
        columns = {}
        for key, values in self.space.items():
            name = key.rpartition(".")[2]
            choices = values.choices if isinstance(values, CategoricalDistribution) else ()
            least = 0 if choices else WIDTH
            columns[key] = name, max(least, len(name), *(len(_shown(value)) for value in choices))
        return columns


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


class ReportAndPrune(Callback):
    """Reports the validation accuracy of each epoch to Optuna, and stops pruned trials."""

    def __init__(self, trial: Trial) -> None:
        self.trial = trial

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if "val/acc" not in trainer.callback_metrics:  # no validation yet
            return
        self.trial.report(trainer.callback_metrics["val/acc"].item(), trainer.current_epoch)
        if self.trial.should_prune():
            raise optuna.TrialPruned
