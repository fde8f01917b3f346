"""Damaged files and failing disks: a clear error, and no good file is lost."""

import json
import shutil
import subprocess

import pytest
import torch

from terminal.atomic import UNFINISHED
from tests.conftest import QUICKLY, QUICKSTART, assert_one_line
from tests.running import TRAIN, run, train_quickly
from tests.training.test_survival import assert_same_end

# Gets worse after its first epoch, which stays the best one.
ASTRAY = (
    *("--trainer.max_epochs", "3", "--model.schedule", "torch.optim.lr_scheduler.StepLR"),
    *("--model.schedule.step_size", "1", "--model.schedule.gamma", "100"),
)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-1000])


def empty(path):
    path.write_bytes(b"")


def fill_with_garbage(path):
    path.write_bytes(b"garbage" * 100)


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.fixture
def stopped(trained, tmp_path):
    """The folder of a run that was killed after training, before the test."""
    shutil.copytree(trained(*QUICKLY, *ASTRAY), tmp_path / "run")
    (tmp_path / "run" / "results.json").rename(tmp_path / "results.json")
    return tmp_path / "run"


@pytest.mark.parametrize("damage", [truncate, empty, fill_with_garbage, flip_a_bit])
def test_a_damaged_last_checkpoint_is_replaced_by_the_best(quickstart, stopped, damage):
    damage(stopped / "checkpoints" / "last.ckpt")
    ended = quickstart(*ASTRAY)
    assert ended.status == 0
    assert ended.err.splitlines() == [
        "warning: run/checkpoints/last.ckpt is not a checkpoint, or a damaged one. "
        "Resuming from run/checkpoints/best.ckpt, after epoch 1."
    ]
    assert "going on from best.ckpt" in ended.out
    before = json.loads((stopped.parent / "results.json").read_text())
    after = json.loads((stopped / "results.json").read_text())
    for key in ("epochs", "best_epoch", "val_accuracy", "test_accuracy", "test_loss"):
        assert before[key] == after[key]
    last = torch.load(stopped / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["epoch"] == 2


@pytest.mark.parametrize("damage", [truncate, empty, fill_with_garbage, flip_a_bit])
def test_without_an_intact_checkpoint_nothing_is_overwritten(quickstart, stopped, damage):
    for name in ("best.ckpt", "last.ckpt"):
        damage(stopped / "checkpoints" / name)
    before = contents(stopped)
    ended = quickstart(*ASTRAY)
    assert ended.status == 2
    assert len(ended.err.splitlines()) == 1
    assert "last.ckpt is not a checkpoint, or a damaged one" in ended.err
    assert "--run_dir" in ended.err
    assert contents(stopped) == before


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


SMALLER_NET = """
from torch import nn

def net() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
"""


def test_a_checkpoint_of_another_net_is_named(quickstart, stopped, monkeypatch):
    (stopped.parent / "smaller.py").write_text(SMALLER_NET)
    monkeypatch.syspath_prepend(stopped.parent)
    before = contents(stopped)
    ended = quickstart("--model.net", "smaller.net")
    assert ended.status == 2
    assert "another network" in ended.err
    assert "net.1.bias" in ended.err
    assert len(ended.err.splitlines()) == 1
    assert contents(stopped) == before


def test_a_damaged_best_checkpoint_is_not_tested(quickstart, stopped):
    flip_a_bit(stopped / "checkpoints" / "best.ckpt")
    ended = quickstart(*ASTRAY)
    assert ended.status == 2
    assert ended.err.splitlines() == [
        "error: run/checkpoints/best.ckpt is not a checkpoint, or a damaged one."
    ]
    assert not (stopped / "results.json").exists()


def test_the_best_checkpoint_exists_even_if_it_is_the_last(quickstart, tmp_path):
    quickstart("--trainer.max_epochs", "2")
    results = tmp_path / "run" / "results.json"
    assert json.loads(results.read_text())["best_epoch"] == 1
    results.unlink()
    flip_a_bit(tmp_path / "run" / "checkpoints" / "last.ckpt")
    ended = quickstart("--trainer.max_epochs", "2")
    assert ended.status == 0
    assert "Resuming from run/checkpoints/best.ckpt, after epoch 2" in ended.err


def test_a_run_resumes_with_damaged_metrics(quickstart, stopped):
    whole = (stopped / "metrics.csv").read_text()
    (stopped / "metrics.csv").write_text(whole + "19,not a number\n")
    ended = quickstart(*ASTRAY)
    assert ended.status == 0
    assert "metrics.csv is damaged" in ended.err


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--model.optimizer.lr", "0.5"], ["model.optimizer.lr 0.004", "0.5", "--run_dir"]),
        (["--seed_everything", "7"], ["seed_everything 1", "7"]),
        (["--data.batch_size", "32"], ["data.batch_size 64", "32"]),
        (["--trainer.max_epochs", "9"], ["trainer.max_epochs 3", "9"]),
    ],
)
@pytest.mark.parametrize("is_finished", [False, True])
def test_a_run_does_not_resume_with_another_recipe(
    quickstart, stopped, options, named, is_finished
):
    if is_finished:
        shutil.copy(stopped.parent / "results.json", stopped)
    before = contents(stopped)
    ended = quickstart(*ASTRAY, *options)
    assert_one_line(ended, named)
    assert contents(stopped) == before


def test_how_it_is_trained_may_change(quickstart, stopped):
    ended = quickstart(*ASTRAY, "--trainer.log_every_n_steps", "7", "--dashboard", "true")
    assert (ended.status, ended.err) == (0, "")


def test_damaged_results_are_written_again(quickstart, stopped):
    whole = (stopped.parent / "results.json").read_text()
    (stopped / "results.json").write_text(whole[: len(whole) // 2])
    ended = quickstart(*ASTRAY)
    assert ended.status == 0
    assert ended.err.splitlines() == ["warning: run/results.json is damaged: it is written again."]
    assert json.loads((stopped / "results.json").read_text()) | {"peak_memory_bytes": 0} == (
        json.loads(whole) | {"peak_memory_bytes": 0}
    )


def test_temporary_files_of_a_killed_process_are_removed(quickstart, stopped):
    (stopped / "checkpoints" / f".last.ckpt.1{UNFINISHED}").write_bytes(b"half")
    mine = stopped / ".notes.tmp"
    mine.write_bytes(b"the user's own")
    (stopped / f".metrics.csv.1{UNFINISHED}").write_bytes(b"half")
    quickstart(*ASTRAY)
    assert list(stopped.rglob("*.tmp")) == [mine]


@pytest.mark.parametrize("name", ["config.yaml", "metrics.csv", "results.json"])
@pytest.mark.parametrize("content", [b"# mine\ntrainer: {max_epochs: 3}\n", b"5", None])
def test_the_users_files_are_not_overwritten(quickstart, tmp_path, name, content):
    (tmp_path / "run").mkdir()
    if content is None:
        (tmp_path / "run" / name).symlink_to("elsewhere")
    else:
        (tmp_path / "run" / name).write_bytes(content)
    before = contents(tmp_path)
    ended = quickstart()
    assert_one_line(ended, [f"run/{name}", "--run_dir"])
    assert contents(tmp_path) == before
    assert [path.name for path in (tmp_path / "run").iterdir()] == [name]


def test_results_without_figures_are_written_again(quickstart, stopped):
    (stopped / "results.json").write_text("5")
    ended = quickstart(*ASTRAY)
    assert ended.status == 0
    assert ended.err.splitlines() == ["warning: run/results.json is damaged: it is written again."]
    assert json.loads((stopped / "results.json").read_text())["test_images"] == 360


@pytest.mark.parametrize("folder", ["/proc/run", "file/run"])
def test_a_folder_that_cannot_be_written_gets_one_line(train, tmp_path, folder):
    (tmp_path / "file").touch()
    ended = train("--config", QUICKSTART, "--run_dir", folder)
    assert ended.status == 2
    assert len(ended.err.splitlines()) == 1
    assert "cannot write the run folder" in ended.err


@pytest.mark.slow
def test_a_full_disk_loses_nothing(tmp_path):
    """A disk with space for one checkpoint only; with more space, the run resumes."""
    arguments = ("--config", QUICKSTART, "--trainer.max_epochs", "3", "--run_dir", "run")
    mount = 'mkdir disk && mount -t tmpfs -o size=2m none disk && cd disk && "$@"; status=$?; '
    small_disk = ("unshare", "--map-root-user", "--mount", "sh", "-c")
    if subprocess.run([*small_disk, "mount -t tmpfs none /mnt"], capture_output=True).returncode:
        pytest.skip("this machine lets nobody mount a small disk")
    ended = run(
        *(*small_disk, f"{mount} cp -r run ..; exit $status", "sh", *TRAIN, *arguments),
        cwd=tmp_path,
    )
    assert ended.status == 2
    assert len(ended.err.splitlines()) == 1
    assert "No space left on device" in ended.err
    assert "run/checkpoints/best.ckpt" in ended.err
    assert not list((tmp_path / "run").rglob("*.tmp"))
    saved = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved["epoch"] == 0
    assert train_quickly(*arguments, cwd=tmp_path).status == 0
    (tmp_path / "run").rename(tmp_path / "survivor")
    assert train_quickly(*arguments, cwd=tmp_path).status == 0
    assert_same_end(tmp_path / "survivor", tmp_path / "run")


def test_a_copied_folder_resumes(quickstart, stopped):
    shutil.copytree(stopped, stopped.parent / "copy")
    ended = quickstart("--run_dir", "copy", *ASTRAY)
    assert (ended.status, ended.err) == (0, "")
