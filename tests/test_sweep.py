"""What a user of `sweep.py` relies on."""

import shlex

import optuna
import pytest
import torch
from lightning.pytorch import Callback

from sweep import main
from tests.conftest import QUICKSTART, ROOT

SPACE = """
model.optimizer.lr: {low: 0.001, high: 0.01, log: true}
data.batch_size: {low: 32, high: 128, step: 32}
model.net.activation: {choices: [relu, tanh]}
"""


@pytest.fixture
def sweep(run_script, tmp_path):
    """Sweeps over the quick start, with further arguments."""

    def run(trials, *args, space=SPACE):
        (tmp_path / "space.yaml").write_text(space)
        return run_script(
            *(main, "--config", QUICKSTART, "--space", "space.yaml", "--trials", trials),
            *("--run_dir", "sweep", "--trainer.max_epochs", "2", *args),
        )

    return run


def study(tmp_path):
    return optuna.load_study(study_name="sweep", storage=f"sqlite:///{tmp_path}/sweep/sweep.db")


def test_the_best_values_come_as_a_command_that_trains_the_same_run(sweep, train, tmp_path):
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
    assert max(map(len, ended.out.splitlines()[:3])) <= 80


def test_the_test_set_stays_out_of_it(sweep, tmp_path):
    sweep(1)
    assert not (tmp_path / "sweep" / "0" / "results.json").exists()
    assert "test" not in (tmp_path / "sweep" / "0" / "metrics.csv").read_text()


def test_the_same_command_goes_on(sweep, tmp_path):
    sweep(2)
    before = [trial.params for trial in study(tmp_path).trials]
    ended = sweep(4)
    assert [trial.params for trial in study(tmp_path).trials][:2] == before
    assert len(study(tmp_path).trials) == 4
    assert ended.out.count("lr ") == 2 + ended.out.count("model.optimizer.lr ")
    assert "lr " not in sweep(4).out.partition("best")[0]


class DieOnce(Callback):
    def on_train_epoch_start(self, trainer, pl_module):
        died = trainer.loggers[0].run.path / "died"
        if trainer.current_epoch == 1 and not died.exists():
            died.touch()
            raise SystemExit(9)


def test_a_trial_that_is_killed_goes_on_and_counts_once(sweep, tmp_path):
    callback = ("--trainer.callbacks", f'[{{"class_path": "{__name__}.DieOnce"}}]')
    assert sweep(1, *callback).status == 9
    killed = study(tmp_path).trials[0]
    ended = sweep(1, *callback)
    assert ended.status == 0
    first, second = study(tmp_path).trials
    assert second.params == killed.params
    assert first.state == optuna.trial.TrialState.FAIL
    assert second.state == optuna.trial.TrialState.COMPLETE
    assert not (tmp_path / "sweep" / "1").exists()  # it went on in its folder
    last = torch.load(tmp_path / "sweep" / "0" / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["epoch"] == 1


def test_a_trial_that_diverges_is_noted_and_the_others_go_on(sweep, tmp_path):
    space = "model.optimizer.lr: {choices: [0.004, 1.0e+30]}"
    ended = sweep(6, "--model.net.activation", "relu", space=space)
    assert ended.status == 0
    states = {trial.params["model.optimizer.lr"]: trial.state for trial in study(tmp_path).trials}
    assert states == {
        0.004: optuna.trial.TrialState.COMPLETE,
        1e30: optuna.trial.TrialState.FAIL,
    }
    assert "fail" in ended.out
    assert "--model.optimizer.lr 0.004" in ended.out


def test_hopeless_trials_are_given_up(sweep, tmp_path):
    space = "model.optimizer.lr: {choices: [0.004, 1.0e-9]}"
    sweep(9, "--trainer.max_epochs", "3", space=space)
    pruned = study(tmp_path).get_trials(states=(optuna.trial.TrialState.PRUNED,))
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
    ],
)
def test_a_wrong_space_gets_one_line_before_anything_is_written(sweep, tmp_path, space, named):
    ended = sweep(2, space=space)
    assert ended.status == 2
    assert len(ended.err.splitlines()) == 1
    for word in named:
        assert word in ended.err
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


def test_the_spaces_fit_their_configs(run_script, data_root, tmp_path):
    for space in sorted((ROOT / "configs" / "spaces").glob("*.yaml")):
        config = ROOT / "configs" / space.name
        ended = run_script(
            *(main, "--config", config, "--space", space, "--trials", 1, "--data.root", data_root),
            *(
                "--trainer.max_epochs",
                1,
                "--trainer.limit_train_batches",
                2,
                "--run_dir",
                space.stem,
            ),
        )
        assert (ended.status, ended.err) == (0, "")
