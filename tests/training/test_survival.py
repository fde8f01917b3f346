"""A killed and resumed run ends bit-identical to one that was never killed."""

import json
import random
import signal
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lit_modules import LitClassifier
from tests.conftest import QUICKSTART
from tests.running import start_quickly, train_quickly, wait_for

DYING = "tests.training.dying.Dying"
SCHEDULERS = "torch.optim.lr_scheduler"
AFFINE = '[{"class_path": "kornia.augmentation.RandomAffine", "init_args": {"degrees": 15}}]'
RECIPE = (
    *("--config", QUICKSTART, "--trainer.max_epochs", "3", "--trainer.log_every_n_steps", "5"),
    *("--model.net", "tests.training.dying.SmallNet", "--data.augment", AFFINE),
)
STATES = {
    *("state_dict", "current_model_state", "averaging_state"),
    *("optimizer_states", "lr_schedulers", "epoch", "global_step"),
}
MEASURED = ("train_seconds", "train_cpu_seconds", "images_per_second", "peak_memory_bytes")


def callbacks(*others):
    """The option for these callbacks and for the one that kills."""
    listed = [{"class_path": DYING}, *others]
    return ("--trainer.callbacks", json.dumps(listed))


def assert_same_end(run: Path, whole: Path) -> None:
    """Weights, optimizer, metrics, results and curves equal those of the unkilled run."""
    for name in ("best.ckpt", "last.ckpt"):
        ours, theirs = (
            torch.load(folder / "checkpoints" / name, weights_only=True) for folder in (run, whole)
        )
        assert ours.keys() == theirs.keys()
        for part in ours.keys() & STATES:
            assert same(ours[part], theirs[part]), part
    assert (run / "metrics.csv").read_text() == (whole / "metrics.csv").read_text()
    results = [json.loads((folder / "results.json").read_text()) for folder in (run, whole)]
    for key in results[0].keys() - set(MEASURED):
        assert results[0][key] == results[1][key], key
    assert curves(run) == curves(whole)
    assert not list(run.rglob(".*.tmp"))


def same(a, b) -> bool:
    """Whether two nested collections are equal to the last bit."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def curves(run: Path) -> dict[str, list[tuple[int, float]]]:
    """The curves of a run in TensorBoard."""
    events = EventAccumulator(str(run))
    events.Reload()
    tags = (tag for tag in events.Tags()["scalars"] if not tag.startswith("performance/"))
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in tags}


def die(moment):
    """The environment for the callback that kills."""
    return {"DEATH": json.dumps({"signal": "SIGKILL", **moment})}


DEATHS = {
    "in an epoch": {"at": "batch", "epoch": 1},
    "in the first epoch": {"at": "batch", "epoch": 0},
    "in a validation": {"at": "validation", "epoch": 1},
    "while a checkpoint is written": {"at": "writing", "epoch": 1},
    "between the best and the last checkpoint": {"at": "best but not last", "epoch": 0},
    "between epochs": {"at": "epoch start", "epoch": 2},
    "after the last epoch": {"at": "trained"},
    "before the results": {"at": "tested"},
}


@pytest.mark.parametrize("death", DEATHS)
def test_killed_at_each_stage(trained, tmp_path, death):
    recipe = (*RECIPE, *callbacks())
    killed = train_quickly(*recipe, "--run_dir", "run", cwd=tmp_path, env=die(DEATHS[death]))
    assert killed.status == -signal.SIGKILL
    assert not (tmp_path / "run" / "results.json").exists()
    ended = train_quickly(*recipe, "--run_dir", "run", cwd=tmp_path)
    assert (ended.status, ended.err) == (0, "")
    assert_same_end(tmp_path / "run", trained(*recipe))


EMA = {"class_path": "callbacks.EMAWeightAveraging"}
LATE_EMA = EMA | {"init_args": {"update_starting_at_step": 30}}
EARLY = {
    "class_path": "lightning.pytorch.callbacks.EarlyStopping",
    "init_args": {"monitor": "val/acc", "mode": "max", "min_delta": 1.0, "patience": 1},
}
# Five validations per epoch: it ends in the second one.
EARLY_IN_SECOND = EARLY | {"init_args": EARLY["init_args"] | {"patience": 7}}
RECIPES = {
    "averaged weights": callbacks(EMA),
    "a part that is trained, of averaged weights": (
        *("--model.trainable", "6.*", *callbacks(EMA)),
    ),
    "weights that are averaged from the second epoch": callbacks(LATE_EMA),
    "64 bits": ("--trainer.precision", "64-true", *callbacks()),
    "OneCycleLR": (
        *("--model.schedule", f"{SCHEDULERS}.OneCycleLR", "--model.schedule.max_lr", "0.01"),
        *("--model.schedule.total_steps", "60", *callbacks()),
    ),
    "mixed batches, their loss and metrics": (
        *("--data.mix", "[torchvision.transforms.v2.MixUp,torchvision.transforms.v2.CutMix]"),
        *("--model.class_weights", "balanced"),
        *("--model.metrics", "[torchmetrics.classification.MulticlassF1Score]", *callbacks()),
    ),
    "StepLR": (
        *("--model.schedule", f"{SCHEDULERS}.StepLR", "--model.schedule.step_size", "1"),
        *callbacks(),
    ),
    "ReduceLROnPlateau": (
        *("--model.schedule", f"{SCHEDULERS}.ReduceLROnPlateau"),
        *("--model.schedule.patience", "0", "--model.schedule.threshold", "0.9", *callbacks()),
    ),
    "early stopping": callbacks(EARLY),
    "early stopping in an epoch": (
        *callbacks(EARLY_IN_SECOND),
        "--trainer.val_check_interval",
        "0.2",
    ),
}


@pytest.mark.parametrize("name", RECIPES)
def test_killed_with_each_kind_of_state(trained, tmp_path, name):
    recipe = (*RECIPE, *RECIPES[name], "--dashboard", "false")
    for moment in ({"at": "batch", "epoch": 1}, {"at": "trained"}):
        killed = train_quickly(*recipe, "--run_dir", "run", cwd=tmp_path, env=die(moment))
        assert killed.status == -signal.SIGKILL
    ended = train_quickly(*recipe, "--run_dir", "run", cwd=tmp_path)
    assert (ended.status, ended.err) == (0, "")
    assert_same_end(tmp_path / "run", trained(*recipe))
    best = tmp_path / "run" / "checkpoints" / "best.ckpt"
    LitClassifier.load_from_checkpoint(best, trust_classes=True)


def test_sigterm_ends_a_run_at_once(trained, tmp_path):
    recipe = (*RECIPE, *callbacks())
    for moment in ({"at": "batch", "epoch": 1}, {"at": "tested"}):
        env = {"DEATH": json.dumps({"signal": "SIGTERM", **moment})}
        ended = train_quickly(*recipe, "--run_dir", "run", cwd=tmp_path, env=env)
        assert ended.status == -signal.SIGTERM
        assert ended.err == ""
    ended = train_quickly(*recipe, "--run_dir", "run", cwd=tmp_path)
    assert ended.status == 0, ended.err
    assert_same_end(tmp_path / "run", trained(*recipe))


@pytest.mark.parametrize("name", [None, "mine"])
def test_ctrl_c_says_how_to_resume(tmp_path, name):
    recipe = (*RECIPE, *callbacks(), *(["--run_dir", name] if name else []))
    env = {"DEATH": json.dumps({"signal": "SIGINT", "at": "batch", "epoch": 1})}
    ended = train_quickly(*recipe, cwd=tmp_path, env=env)
    how = "" if name else " with --run_dir runs/quickstart/1"
    assert ended.status == 130
    assert ended.err == f"stopped: the same command{how} goes on.\n"
    ended = train_quickly(*recipe, *how.split()[1:], cwd=tmp_path)
    assert ended.status == 0
    assert "going on from last.ckpt" in ended.out


def test_a_run_folder_is_for_one_process_at_a_time(trained, tmp_path):
    """The first is suspended in its second epoch, not killed; the second is refused."""
    recipe = (*RECIPE, *callbacks(), "--run_dir", "run")
    env = {"DEATH": json.dumps({"signal": "SIGSTOP", "at": "batch", "epoch": 1})}
    first = start_quickly(*recipe, cwd=tmp_path, env=env)
    wait_for(tmp_path / "run" / "checkpoints" / "last.ckpt")
    second = train_quickly(*recipe, cwd=tmp_path)
    assert second.status == 2
    assert second.err.splitlines() == [
        "error: another process trains in run. Wait for it, or name another --run_dir."
    ]
    first.kill()
    first.join()
    third = train_quickly(*recipe, cwd=tmp_path)
    assert (third.status, third.err) == (0, "")
    assert_same_end(tmp_path / "run", trained(*RECIPE, *callbacks()))


def test_runs_that_start_together_get_separate_folders(tmp_path):
    runs = [start_quickly(*RECIPE, cwd=tmp_path) for _ in range(3)]
    for run in runs:
        run.join()
    assert [run.exitcode for run in runs] == [0, 0, 0]
    finished = sorted((tmp_path / "runs" / "quickstart").glob("*/results.json"))
    assert [path.parent.name for path in finished] == ["1", "2", "3"]


def test_killed_at_random_moments(trained, tmp_path):
    recipe = (*RECIPE, *callbacks())
    whole = trained(*recipe)
    # On any machine, some of them come before the end of a run.
    longest = 1.5 * float((whole.parents[2] / "seconds.txt").read_text())
    seconds = [random.uniform(0, longest) for _ in range(4)]
    for after in (*seconds, None):
        ended = train_quickly(*recipe, "--run_dir", "run", cwd=tmp_path, kill_after=after)
        assert ended.status in (0, -signal.SIGKILL), (seconds, ended)
    assert ended.status == 0, (seconds, ended)
    assert_same_end(tmp_path / "run", whole)
