"""Several runs in one process, as in a notebook."""

import json
import sys

import pytest
import torch

from tests.conftest import QUICKSTART
from tests.running import ROOT, run

AFFINE = '[{"class_path": "kornia.augmentation.RandomAffine", "init_args": {"degrees": 15}}]'
SHORT = (
    *("--config", QUICKSTART, "--dashboard", "false", "--trainer.max_epochs", 2),
    *("--trainer.limit_train_batches", 4, "--trainer.limit_val_batches", 1),
)
RECIPE = (
    *(*SHORT, "--run_dir", "run", "--dashboard", "true", "--data.augment", AFFINE),
    "--trainer.callbacks+=callbacks.EMAWeightAveraging",
)
OTHERS = [
    (
        *(*SHORT, "--run_dir", "other", "--seed_everything", 7, "--trainer.precision", "64-true"),
        *("--trainer.deterministic", "warn", "--model.optimizer.lr", 0.1),
        *("--data.mix", "[torchvision.transforms.v2.MixUp]"),
    ),
    (
        *(*SHORT, "--run_dir", "diverged", "--trainer.benchmark", "true"),
        *("--model.optimizer.lr", "1e30"),
    ),
    (*SHORT, "--run_dir", "wrong", "--data.batch_size", 0),
]
SCRIPT = """
import json, os, sys
import torch
import train
import training.cli

del os.environ["OMP_NUM_THREADS"]  # set by the tests: the run would not change it
if sys.argv[2] == "high":
    torch.set_float32_matmul_precision("high")
    torch.set_deterministic_debug_mode("warn")

def settings():
    return (
        dict(os.environ), torch.get_num_threads(), torch.get_default_dtype(),
        torch.get_float32_matmul_precision(), torch.get_deterministic_debug_mode(),
        torch.backends.cudnn.benchmark, torch.is_anomaly_enabled(),
    )

for args in json.loads(sys.argv[1]):
    before = settings()
    sys.argv = ["train.py", *args]
    try:
        train.main()
    except SystemExit as end:
        print("status", end.code)
    print("as before", settings() == before)
"""


def train_in_turn(runs, cwd, precision="highest"):
    """Trains several runs in one process."""
    told = json.dumps([[str(word) for word in args] for args in runs])
    environment = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return run(sys.executable, "-c", SCRIPT, told, precision, cwd=cwd, env=environment)


def test_what_the_program_has_set_is_so_after_a_run(tmp_path):
    quick = (*SHORT, "--trainer.fast_dev_run", "true", "--trainer.deterministic", "false")
    ended = train_in_turn([quick], tmp_path, "high")
    assert (ended.status, ended.out.splitlines()[-1]) == (0, "as before True")


@pytest.mark.slow
def test_a_run_after_others_is_that_of_a_new_process(tmp_path):
    for name, runs in {"after": [*OTHERS, RECIPE], "new": [RECIPE], "again": [RECIPE]}.items():
        folder = tmp_path / name.replace("again", "after")
        folder.mkdir(exist_ok=True)
        ended = train_in_turn(runs, folder)
        assert ended.status == 0, ended.err
        lines = ended.out.splitlines()
        assert [line for line in lines if "as before" in line] == ["as before True"] * len(runs)
        assert lines.count("status 2") == (2 if name == "after" else 0)
        assert len(ended.err.splitlines()) == lines.count("status 2"), ended.err
    after, new = (tmp_path / name / "run" for name in ("after", "new"))
    assert "run is finished" in ended.out  # the second time
    assert (after / "metrics.csv").read_text() == (new / "metrics.csv").read_text()
    for name in ("best.ckpt", "last.ckpt"):
        ours, theirs = (
            torch.load(folder / "checkpoints" / name, weights_only=True)["state_dict"]
            for folder in (after, new)
        )
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    results = [json.loads((folder / "results.json").read_text()) for folder in (after, new)]
    for key in ("val_accuracy", "test_accuracy", "test_loss", "best_epoch", "precision"):
        assert results[0][key] == results[1][key]
