"""Trials of a sweep: each a run of its own, chosen and pruned by its validation accuracy."""

from pathlib import Path
from typing import Any

import optuna
import yaml
from filelock import FileLock, Timeout
from lightning.pytorch import Callback, LightningModule, Trainer
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial, Trial, TrialState

from training.cli import TrainingCLI
from training.errors import UserError

STATES = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
INSTEAD_OF = "instead_of"  # user attribute: the number of the killed trial that goes on in this one
FOLDER = "folder"  # user attribute: and its folder


def read_space(path: Path) -> dict[str, BaseDistribution]:
    """Reads which keys are varied over which values.

    Args:
        path: A YAML file of dotted keys with `{low: 1, high: 9}`, of integers or not, with `log:
            true` or `step: 2`, or with `{choices: [a, b]}`.

    Raises:
        UserError: If it cannot be read, or makes no sense.
    """
    try:
        space = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise UserError(f"cannot read the space {path}: {error}.") from error
    if not isinstance(space, dict) or not space:
        raise UserError(f"the space {path} names no keys: 'model.optimizer.lr: {{low: ...}}'.")
    return {key: _distribution(key, values) for key, values in space.items()}


def _distribution(key: str, values: Any) -> BaseDistribution:
    try:
        match values:
            case {"choices": list() as choices, **rest} if choices and not rest:
                return CategoricalDistribution(choices)
            case {"low": int(), "high": int()}:
                return IntDistribution(**values)
            case {"low": float() | int(), "high": float() | int()}:
                return FloatDistribution(**values)
    except (TypeError, ValueError) as error:
        raise UserError(f"the space of {key}: {error}.") from error
    raise UserError(f"the space of {key} has to be {{low, high[, log or step]}} or {{choices}}.")


def as_arguments(values: dict[str, Any]) -> list[str]:
    """Values of a trial as a command line has them."""
    return [word for key, value in values.items() for word in (f"--{key}", str(value))]


def first_values(space: dict[str, BaseDistribution]) -> dict[str, Any]:
    """One point of the space, to see whether it can be trained at all."""
    return {
        key: values.choices[0] if isinstance(values, CategoricalDistribution) else values.low
        for key, values in space.items()
    }


class Sweep:
    """A study of trials, in a folder from which it goes on.

    Args:
        folder: Where `sweep.db` and the trials' folders are.
        space: What is varied.
        arguments: The command line of every trial.
        seed: Of the choice of trials.

    Raises:
        UserError: If the first values of the space cannot be trained, or another process sweeps
            in the folder.
    """

    def __init__(
        self, folder: Path, space: dict[str, BaseDistribution], arguments: list[str], seed: int = 0
    ) -> None:
        # Fails here if it cannot be trained, before anything is written.
        trainer = TrainingCLI([*arguments, *as_arguments(first_values(space))]).trainer
        if trainer.world_size > 1:
            raise UserError("the trials of a sweep train on one device: --trainer.devices 1.")
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(folder / ".lock", timeout=0)
        try:
            self._lock.acquire()
        except Timeout as error:
            raise UserError(f"another process sweeps in {folder}.") from error
        self.folder = folder
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.space = space
        self.arguments = arguments
        self.study = optuna.create_study(
            storage=f"sqlite:///{folder}/sweep.db",
            study_name="sweep",
            direction="maximize",
            pruner=optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=1),
            load_if_exists=True,
        )
        self.study.sampler = optuna.samplers.TPESampler(seed=seed + len(self.study.trials))
        for trial in self.study.get_trials(states=(TrialState.RUNNING,)):
            self._go_on_with(trial)

    def __enter__(self) -> "Sweep":
        return self

    def __exit__(self, *exception: object) -> None:
        self._lock.release()

    @property
    def finished(self) -> list[FrozenTrial]:
        """The trials that count: complete, pruned or failed, and not killed."""
        killed = {trial.user_attrs.get(INSTEAD_OF) for trial in self.study.trials}
        trials = self.study.get_trials(states=STATES)
        return [trial for trial in trials if trial.number not in killed]

    def run_trial(self) -> FrozenTrial:
        """Trains the next trial to its end, to its pruning or to its failure."""
        trial = self.study.ask(self.space)
        try:
            value = self._train(trial)
        except optuna.TrialPruned:
            return self.study.tell(trial, state=TrialState.PRUNED)
        except UserError as error:  # it diverged, or these values do not go together
            trial.set_user_attr("error", str(error))
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

    def describe(self, trial: FrozenTrial) -> str:
        """A line: number, validation accuracy or what became of it, and the values."""
        outcome = trial.state.name.lower()
        if trial.state == TrialState.COMPLETE:
            outcome = f"{trial.value:.2%}{' best' if trial.number == self.best.number else ''}"
        values = (
            f"{key.rpartition('.')[2]} {value:.4g}"
            if isinstance(value, float)
            else f"{key.rpartition('.')[2]} {value}"
            for key, value in trial.params.items()
        )
        return f"{self.folder_of(trial).name:>5}  {outcome:<12}  {', '.join(values)}"

    def folder_of(self, trial: FrozenTrial | Trial) -> Path:
        return self.folder / str(trial.user_attrs.get(FOLDER, trial.number))

    def _train(self, trial: Trial) -> float:
        """The best validation accuracy. The test set stays out of a sweep."""
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
        return cli.keeper.best_score[0]

    def _go_on_with(self, killed: FrozenTrial) -> None:
        """Puts a trial that was killed first in the queue, with its values and its folder."""
        folder = killed.user_attrs.get(FOLDER, killed.number)
        attributes = {FOLDER: folder, INSTEAD_OF: killed.number}
        self.study.enqueue_trial(killed.params, user_attrs=attributes)
        self.study.tell(killed.number, state=TrialState.FAIL)


class ReportAndPrune(Callback):
    """Tells Optuna the validation accuracy of each epoch, and stops a trial that it gives up."""

    def __init__(self, trial: Trial) -> None:
        self.trial = trial

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        accuracy = trainer.callback_metrics["val/acc"].item()
        self.trial.report(accuracy, trainer.current_epoch)
        if self.trial.should_prune():
            raise optuna.TrialPruned
