"""The behaviour of `sweep.py`."""

import errno
import os
import shlex
import signal
import sys

import optuna
import pytest
import torch
from lightning.pytorch import Callback
from optuna.trial import TrialState

from sweep import main
from tests.conftest import QUICKSTART, ROOT, assert_one_line
from tests.running import run

SPACE = """
model.optimizer.lr: {low: 1e-3, high: 0.01, log: true}
data.batch_size: {low: 32, high: 128, step: 32}
model.net.activation: {choices: [relu, tanh]}
"""


@pytest.fixture
def sweep(run_script, tmp_path):
    """Sweeps over the quick start, with further arguments."""

    def run_sweep(trials, *args, space=SPACE):
        (tmp_path / "space.yaml").write_text(space)
        return run_script(main, *arguments(trials), *args)

    return run_sweep


def arguments(trials):
    return [
        *("--config", QUICKSTART, "--space", "space.yaml", "--trials", trials),
        *("--run_dir", "sweep", "--trainer.max_epochs", "2", "--dashboard", "false"),
    ]


def study(tmp_path):
    return optuna.load_study(study_name="sweep", storage=f"sqlite:///{tmp_path}/sweep/sweep.db")


def test_the_printed_command_repeats_the_best_run(sweep, train, tmp_path):
    ended = sweep(3)
    assert (ended.status, ended.err) == (0, "")
    trials = study(tmp_path).trials
    best = max(trials, key=lambda trial: trial.value)
    for key, value in best.params.items():
        assert f"--{key} {value}" in ended.out
    command = next(line for line in ended.out.splitlines() if "python train.py" in line)
    train(*shlex.split(command.partition("train.py")[2]), "--run_dir", "again")
    weights = [
        torch.load(tmp_path / run / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
        for run in (f"sweep/{best.number}", "again")
    ]
    for name, tensor in weights[0].items():
        assert torch.equal(tensor, weights[1][name])


def test_a_sweep_does_not_use_the_test_set(sweep, tmp_path):
    sweep(1)
    assert not (tmp_path / "sweep" / "0" / "results.json").exists()
    assert "test" not in (tmp_path / "sweep" / "0" / "metrics.csv").read_text()


def test_the_same_command_resumes(sweep, tmp_path):
    sweep(2)
    before = [trial.params for trial in study(tmp_path).trials]
    ended = sweep(4)
    assert [trial.params for trial in study(tmp_path).trials][:2] == before
    assert len(study(tmp_path).trials) == 4
    numbers = [line.split()[0] for line in ended.out.splitlines()[1:3]]
    assert numbers == ["2", "3"]
    assert ended.out.splitlines()[3].startswith("best")
    assert sweep(4).out.startswith("best")  # nothing to do


def test_another_config_or_space_does_not_mix_with_a_sweep(sweep, tmp_path):
    sweep(1)
    for ended in (
        sweep(2, "--seed_everything", 2),
        sweep(2, space=SPACE.replace("relu", "sigmoid")),
    ):
        assert ended.status == 2
        assert len(ended.err.splitlines()) == 1
        assert "another" in ended.err
    assert len(study(tmp_path).trials) == 1
    assert sweep(2).status == 0


def callback(name):
    return "--trainer.callbacks", f'[{{"class_path": "{__name__}.{name}"}}]'


class DieOnce(Callback):
    def on_train_epoch_start(self, trainer, pl_module):
        died = trainer.loggers[0].run.path / "died"
        if trainer.current_epoch == 1 and not died.exists():
            died.touch()
            os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_trial_resumes_and_counts_once(sweep, tmp_path, monkeypatch):
    (tmp_path / "space.yaml").write_text(SPACE)
    command = (sys.executable, ROOT / "sweep.py", *arguments(1), *callback("DieOnce"))
    assert run(*command, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}).status == -signal.SIGKILL
    killed = study(tmp_path).trials[0]
    assert killed.state == TrialState.RUNNING
    with monkeypatch.context() as patch:  # and killed again, when it would be queued
        patch.setattr(optuna.Study, "tell", lambda *args, **kwargs: sys.exit(9))
        assert sweep(1, *callback("DieOnce")).status == 9
    ended = sweep(1, *callback("DieOnce"))
    assert ended.status == 0
    first, second = study(tmp_path).trials
    assert second.params == killed.params
    assert first.state == TrialState.FAIL
    assert second.state == TrialState.COMPLETE
    assert not (tmp_path / "sweep" / "1").exists()  # it resumed in its folder
    last = torch.load(tmp_path / "sweep" / "0" / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["epoch"] == 1


class CrashOnce(Callback):
    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.loggers[0].run.path.name == "0":
            raise ZeroDivisionError("only with these values")


def test_a_crashed_trial_is_recorded_with_its_traceback(sweep, tmp_path):
    ended = sweep(2, *callback("CrashOnce"))
    assert ended.status == 0
    first, second = study(tmp_path).trials
    assert (first.state, second.state) == (TrialState.FAIL, TrialState.COMPLETE)
    assert first.user_attrs["error"] == "only with these values"
    assert "Traceback" in ended.err
    assert "trial 0 has failed: only with these values" in ended.err


class FillDiskOnce(Callback):
    def on_train_epoch_start(self, trainer, pl_module):
        full = trainer.loggers[0].run.path / "full"
        if not full.exists():
            full.touch()
            raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_ends_a_sweep_without_a_failed_trial(sweep, tmp_path):
    ended = sweep(1, *callback("FillDiskOnce"))
    assert ended.status == 2
    assert "No space left" in ended.err
    assert sweep(1, *callback("FillDiskOnce")).status == 0
    assert [trial.state for trial in study(tmp_path).trials] == [
        TrialState.FAIL,
        TrialState.COMPLETE,
    ]


def test_a_diverged_trial_is_recorded_and_the_others_continue(sweep, tmp_path):
    space = "model.optimizer.lr: {choices: [0.004, 1.0e+30]}"
    ended = sweep(4, "--model.net.activation", "relu", space=space)
    assert ended.status == 0
    states = {trial.params["model.optimizer.lr"]: trial.state for trial in study(tmp_path).trials}
    assert states == {
        0.004: TrialState.COMPLETE,
        1e30: TrialState.FAIL,
    }
    assert "failed" in ended.out
    assert {line.partition(":")[0] for line in ended.err.splitlines()} == {"warning"}
    assert "diverged" in ended.err
    assert "--model.optimizer.lr 0.004" in ended.out


@pytest.mark.slow
def test_unpromising_trials_are_pruned(sweep, tmp_path):
    space = "model.optimizer.lr: {choices: [0.004, 1.0e-9]}"
    sweep(9, "--trainer.max_epochs", "3", space=space)
    pruned = study(tmp_path).get_trials(states=(TrialState.PRUNED,))
    assert pruned
    assert {trial.params["model.optimizer.lr"] for trial in pruned} == {1e-9}


@pytest.mark.parametrize(
    ("space", "named"),
    [
        ("", ["names no keys"]),
        ("model.optimizer.lr: {low: 1.0, high: 0.1}", ["model.optimizer.lr"]),
        ("model.optimizer.lr: {low: 0.0, high: 0.1, log: true}", ["model.optimizer.lr"]),
        ("model.optimizer.lr: 0.1", ["model.optimizer.lr", "low", "choices"]),
        ("model.optimizer.lr: {choices: []}", ["model.optimizer.lr"]),
        ("model.optimizer.rate: {low: 0.1, high: 0.2}", ["rate"]),
        ("model: {low: [", ["space.yaml"]),
        # Not only the first value is checked.
        ("model.net.activation: {choices: [relu, tahn]}", ["tahn"]),
        ("model.label_smoothing: {low: 0.0, high: 2.0}", ["label_smoothing"]),
        ("model.label_smoothing: {low: 0.0, high: 0.2, step: 0.15}", ["label_smoothing"]),
        ("model.optimizer.lr: {low: 0.1, high: .inf}", ["model.optimizer.lr"]),
        ("trainer.log_every_n_steps: {low: false, high: true}", ["log_every_n_steps"]),
        ("run_dir: {choices: [here, there]}", ["run_dir"]),
    ],
)
def test_a_wrong_space_gets_one_line_before_anything_is_written(sweep, tmp_path, space, named):
    ended = sweep(2, space=space)
    assert_one_line(ended, named)
    assert not (tmp_path / "sweep").exists()


def test_other_wrong_uses_get_one_line(run_script):
    for arguments, named in (
        ([], "--space"),
        (["--space", "nowhere.yaml", "--config", QUICKSTART], "nowhere.yaml"),
    ):
        ended = run_script(main, *arguments)
        assert ended.status == 2
        assert len(ended.err.splitlines()) == 1
        assert named in ended.err


def test_a_folder_that_cannot_be_used_gets_one_line(sweep, tmp_path):
    (tmp_path / "sweep").touch()
    ended = sweep(1)
    assert (ended.status, len(ended.err.splitlines())) == (2, 1)
    (tmp_path / "sweep").unlink()
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "sweep.db").write_text("not a database")
    ended = sweep(1)
    assert (ended.status, len(ended.err.splitlines())) == (2, 1)
    assert "sweep.db" in ended.err


def test_a_sweep_without_validation_is_refused(sweep, tmp_path):
    ended = sweep(1, "--trainer.limit_val_batches", 0)
    assert (ended.status, len(ended.err.splitlines())) == (2, 1)
    assert not (tmp_path / "sweep").exists()


def test_validation_need_not_come_after_each_epoch(sweep, tmp_path):
    assert sweep(1, "--trainer.check_val_every_n_epoch", 2).status == 0
    assert list(study(tmp_path).trials[0].intermediate_values) == [1]


def test_without_optuna_it_says_what_to_install(sweep, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    monkeypatch.delitem(sys.modules, "sweeping.study", raising=False)
    ended = sweep(1)
    assert ended.status == 2
    assert ended.err == "error: optuna is missing: pip install -e '.[sweep]'.\n"


def test_the_spaces_fit_their_configs(run_script, data_root, tmp_path):
    for space in sorted((ROOT / "configs" / "spaces").glob("*.yaml")):
        config = ROOT / "configs" / space.name
        ended = run_script(
            *(main, "--config", config, "--space", space, "--trials", 1, "--data.root", data_root),
            *(
                *("--trainer.max_epochs", 1, "--trainer.limit_train_batches", 2),
                *("--dashboard", "false", "--run_dir", space.stem),
            ),
        )
        assert (ended.status, ended.err) == (0, "")
        assert max(map(len, ended.out.splitlines()[:2])) <= 80
