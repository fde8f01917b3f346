"""The behaviour of `compare.py`, on hand-written run folders."""

import copy
import csv
import json
import os
import re
import stat
import statistics
import sys
import warnings
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from PIL import Image

import compare as compare_script
from comparison.figures import time_that_compares
from comparison.finished_runs import read_runs
from comparison.recipes import group
from terminal.errors import UserError
from terminal.run_folder import RunFolder
from tests.conftest import Finished
from tests.running import ROOT, run
from training.cli import hyperparameters
from training.recipe import check_recipe, recipe

PICTURES = ("accuracy_parameters.png", "accuracy_time.png", "learning_curves.png")
RESULTS = {
    **{"config": "lenet", "net": "models.lenet.LeNet5", "dataset": "MNIST", "image_size": 28},
    **{"seed": 1, "parameters": 61_706, "macs": 416_520, "epochs": 3, "best_epoch": 2},
    **{"val_accuracy": 0.99, "test_accuracy": 0.99, "test_loss": 0.03, "train_seconds": 291.8},
    **{"images_per_second": 3113.7, "peak_memory_bytes": 957_067_264, "precision": "32-true"},
    **{"device": "cpu (x86_64, 2 cores)", "world_size": 1, "versions": {}},
    **{"commit": "f6543b011afc698dee342cd6ad3fe662d405d21d-dirty"},
}
METRICS = (
    "step,epoch,lr,test/acc,test/loss,train/acc,train/loss,val/acc,val/loss\n"
    "0,,0.01,,,,,,\n9,0,,,,0.8,0.5,0.91,0.3\n19,1,,,,0.9,0.3,0.95,0.2\n"
    "29,2,,,,0.95,0.2,0.97,0.1\n30,3.0,,0.97,0.1,,,,\n"
)


@pytest.fixture
def compare(tmp_path, monkeypatch, capsys):
    """Runs `compare.py` with the given arguments in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def call(*args: object) -> Finished:
        monkeypatch.setattr(sys, "argv", ["compare.py", *map(str, args)])
        status = 0
        try:
            compare_script.main()
        except SystemExit as exit:
            status = int(exit.code or 0)
        return Finished(status, *capsys.readouterr())

    return call


def write_run(folder, lr=0.01, optimizer="torch.optim.SGD", options=None, **results):
    """Writes a finished run."""
    folder = Path(folder)
    folder.mkdir(parents=True)
    results = RESULTS | results
    arguments = {"lr": lr} | (options or {})
    config = {
        "seed_everything": results["seed"],
        "trainer": {"max_epochs": results["epochs"]},
        "model": {
            "class_path": "lit_modules.LitClassifier",
            "init_args": {
                "net": {"class_path": results["net"], "init_args": {"num_classes": 10}},
                "optimizer": {"class_path": optimizer, "init_args": arguments},
            },
        },
        "data": {"class_path": f"datamodules.{results['dataset']}"},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "metrics.csv").write_text(METRICS)
    (folder / "results.json").write_text(json.dumps(results))


def read_rows(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_runs_that_differ_only_in_the_seed_are_one_row(compare, tmp_path):
    accuracies = [0.991, 0.994, 0.992]
    for seed, accuracy in enumerate(accuracies, start=1):
        write_run(f"{tmp_path}/runs/lenet/{seed}", seed=seed, test_accuracy=accuracy)
    ended = compare()
    assert (ended.status, ended.err) == (0, "")
    (line,) = [line for line in ended.out.splitlines() if "lenet" in line]
    for figure in ("0.0617", "0.417", "99.23 ± 0.15", "4.9 min", "3,114"):
        assert figure in line
    assert "left out" not in ended.out
    (row,) = read_rows("runs/comparison/results.csv")
    assert row["seeds"] == "1 2 3"
    assert float(row["test_accuracy_mean"]) == pytest.approx(statistics.mean(accuracies))
    assert float(row["test_accuracy_std"]) == pytest.approx(statistics.stdev(accuracies))
    assert (row["parameters"], row["macs"]) == ("61706", "416520")
    text = Path("runs/comparison/results.md").read_text(encoding="utf-8")
    for figure in ("99.23 ± 0.15", "cpu (x86_64, 2 cores)", "32-true", "| f6543b0-dirty |"):
        assert figure in text


def test_a_single_seed_has_no_deviation(compare, tmp_path):
    write_run(tmp_path / "runs" / "1")
    assert "±" not in compare().out
    (row,) = read_rows("runs/comparison/results.csv")
    assert row["test_accuracy_std"] == ""


def test_rows_are_sorted_by_dataset_and_accuracy(compare, tmp_path):
    for name, dataset, accuracy in (
        *(("b", "MNIST", 0.98), ("a", "MNIST", 0.97), ("c", "MNIST", 0.99)),
        ("d", "FashionMNIST", 0.90),
    ):
        write_run(
            tmp_path / "runs" / name,
            config=name,
            dataset=dataset,
            test_accuracy=accuracy,
            lr=accuracy,
        )
    first_words = [line.split()[0] for line in compare().out.splitlines() if line.strip()]
    start = first_words.index("FashionMNIST")
    assert first_words[start : start + 6] == ["FashionMNIST", "d", "MNIST", "c", "b", "a"]
    names = [row["recipe"] for row in read_rows("runs/comparison/results.csv")]
    assert names == ["d", "c", "b", "a"]


def test_recipes_with_the_same_name_are_labelled_by_their_overrides(compare, tmp_path):
    write_run(tmp_path / "runs" / "1", seed=1, test_accuracy=0.98)
    write_run(tmp_path / "runs" / "2", seed=2, test_accuracy=0.98)
    write_run(tmp_path / "runs" / "3", seed=1, lr=0.005, test_accuracy=0.97)
    adam = {"betas": [0.9, 0.999]}
    write_run(tmp_path / "runs" / "4", 0.001, "torch.optim.Adam", adam, test_accuracy=0.96)
    write_run(tmp_path / "runs" / "5", config="other", test_accuracy=0.99, epochs=7)
    lines = compare().out.splitlines()
    shown = [line.split("  ")[0] for line in lines if line.startswith(("other", "lenet", "["))]
    assert shown == [
        *("other", "lenet [1]", "lenet [2]", "lenet [3]"),
        "[1] optimizer SGD, lr 0.01: runs/1, runs/2",
        "[2] optimizer SGD, lr 0.005: runs/3",
        "[3] optimizer Adam, lr 0.001: runs/4",
    ]
    rows = read_rows("runs/comparison/results.csv")
    assert {row["recipe"]: row["seeds"] for row in rows} == {
        "lenet (optimizer SGD, lr 0.01)": "1 2",
        "lenet (optimizer SGD, lr 0.005)": "1",
        "lenet (optimizer Adam, lr 0.001)": "1",
        "other": "1",
    }
    assert {row["config"] for row in rows} == {"lenet", "other"}


def test_a_recipe_with_a_setting_less_has_a_number_and_a_folder_too(compare, tmp_path):
    write_run(tmp_path / "runs" / "1", test_accuracy=0.98)
    write_run(tmp_path / "runs" / "2", test_accuracy=0.97)
    path = tmp_path / "runs" / "2" / "config.yaml"
    config = yaml.safe_load(path.read_text())
    config["trainer"]["gradient_clip_val"] = 1.0
    path.write_text(yaml.safe_dump(config))
    lines = compare().out.splitlines()
    shown = [line.split("  ")[0] for line in lines if line.startswith(("lenet", "["))]
    assert shown == ["lenet [1]", "lenet [2]", "[1] runs/1", "[2] gradient_clip_val 1.0: runs/2"]


def test_only_optimizer_arguments_that_differ_are_named(compare, tmp_path):
    adam = {"betas": [0.9, 0.999], "eps": 1e-8}
    write_run(tmp_path / "runs" / "1", options={"momentum": 0.9, "dampening": 0})
    write_run(tmp_path / "runs" / "2", options={"momentum": 0.0, "dampening": 0})
    write_run(tmp_path / "runs" / "3", 0.01, "torch.optim.Adam", adam)
    compare()
    assert {row["recipe"] for row in read_rows("runs/comparison/results.csv")} == {
        "lenet (optimizer SGD, momentum 0.9)",
        "lenet (optimizer SGD, momentum 0.0)",
        "lenet (optimizer Adam)",
    }


def test_one_recipe_under_two_names_is_one_row(compare, tmp_path):
    """A run that was repeated from the config.yaml of another carries that file's name."""
    write_run(tmp_path / "runs" / "lenet" / "1", seed=1)
    write_run(tmp_path / "runs" / "lenet" / "2", seed=2)
    write_run(tmp_path / "runs" / "config" / "1", seed=3, config="config")
    compare()
    (row,) = read_rows("runs/comparison/results.csv")
    assert (row["recipe"], row["seeds"]) == ("lenet", "1 2 3")


def test_a_seed_counts_once(compare, tmp_path):
    write_run(tmp_path / "runs" / "9", test_accuracy=0.98)
    write_run(tmp_path / "runs" / "10", test_accuracy=0.97)
    ended = compare("runs", "runs/9", tmp_path / "runs")
    assert "runs/9: repeated, with the same seed, by runs/10" in ended.out
    (row,) = read_rows("runs/comparison/results.csv")
    assert (row["seeds"], row["test_accuracy_mean"]) == ("1", "0.97")


CONFIG = """
seed_everything: 1
trainer: {max_epochs: 3, precision: 32-true, log_every_n_steps: 50, gradient_clip_val: null}
model:
  class_path: lit_modules.LitClassifier
  init_args:
    net: {class_path: models.lenet.LeNet5, init_args: {activation: relu, num_classes: 10}}
    optimizer: {class_path: torch.optim.AdamW, init_args: {lr: 0.01, betas: [0.9, 0.999]}}
    schedule: {class_path: torch.optim.lr_scheduler.MultiStepLR, init_args: {milestones: [2]}}
    compile: null
data:
  class_path: datamodules.MNIST
  init_args:
    root: here
    batch_size: 128
    augment: [{class_path: kornia.augmentation.RandomAffine, init_args: {degrees: 10.0}}]
"""
STOP = {"class_path": "lightning.pytorch.callbacks.EarlyStopping", "init_args": {"monitor": "a"}}
RATES = {"class_path": "lightning.pytorch.callbacks.LearningRateMonitor"}
BEST = {"class_path": "lightning.pytorch.callbacks.ModelCheckpoint", "init_args": {"save_top_k": 2}}
ANOTHER_RECIPE = {
    "model.class_path": "lit_modules.LitGoogLeNet",
    "model.init_args.net.init_args.activation": "tanh",
    "model.init_args.optimizer.init_args.lr": 0.02,
    "model.init_args.optimizer.init_args.betas": [0.9, 0.99],
    "model.init_args.optimizer.init_args.amsgrad": True,
    "model.init_args.schedule.init_args.milestones": [2, 3],
    "model.init_args.schedule": None,
    "model.init_args.label_smoothing": 0.1,
    "data.class_path": "datamodules.FashionMNIST",
    "data.init_args.batch_size": 64,
    "data.init_args.channels": 3,
    "data.init_args.augment": None,
    "data.init_args.augment.0.init_args.degrees": 20.0,
    "trainer.max_epochs": 4,
    "trainer.min_epochs": 2,
    "trainer.precision": "bf16-mixed",
    "trainer.val_check_interval": 0.5,
    "trainer.check_val_every_n_epoch": 2,
    "trainer.limit_train_batches": 0.5,
    "trainer.limit_val_batches": 10,
    "trainer.limit_test_batches": 1,  # one, not the share of all that 1.0 is
    "trainer.gradient_clip_val": 1.0,
    "trainer.gradient_clip_algorithm": "value",
    "trainer.accumulate_grad_batches": 2,
    "trainer.reload_dataloaders_every_n_epochs": 1,
    "trainer.sync_batchnorm": True,
    "trainer.callbacks": [RATES, STOP],
    "trainer.an_option_to_come": 1,
}
THE_SAME_RECIPE = {
    "data.init_args.root": "there",
    "data.init_args.image_size": None,
    "trainer.gradient_clip_val": ...,
    "trainer.callbacks": [RATES, BEST],
    "trainer.log_every_n_steps": 5,
    "trainer.logger": {"class_path": "lightning.pytorch.loggers.CSVLogger"},
    "trainer.accelerator": "cpu",
    "trainer.devices": 2,
    "trainer.strategy": "ddp",
    "trainer.num_nodes": 2,
    "trainer.use_distributed_sampler": False,
    "trainer.enable_progress_bar": False,
    "trainer.enable_model_summary": True,
    "trainer.profiler": "simple",
    "trainer.plugins": [{"class_path": "lightning.pytorch.plugins.TorchSyncBatchNorm"}],
    "trainer.benchmark": True,
    "trainer.deterministic": True,
    "trainer.default_root_dir": "there",
    "dashboard": False,
    "model.init_args.compile": True,
    # Defaults, written explicitly.
    "model.init_args.label_smoothing": 0.0,
    "model.init_args.net.init_args.in_channels": 1,
    "model.init_args.optimizer.init_args.eps": 1e-8,
    "data.init_args.channels": 1,
    "trainer.precision": "32",
    "trainer.limit_test_batches": 1.0,
    "trainer.limit_predict_batches": 1.0,
    "trainer.val_check_interval": 1.0,
    "trainer.gradient_clip_algorithm": "norm",
    "trainer.accumulate_grad_batches": 1,
    "trainer.sync_batchnorm": False,
}


def changed(key, value):
    """The config with another value at a dotted key, or without it."""
    config = here = copy.deepcopy(yaml.safe_load(CONFIG))
    *path, last = (int(part) if part.isdigit() else part for part in key.split("."))
    for part in path:
        here = here[part]
    here[last] = value
    if value is ...:
        del here[last]
    return config


@pytest.mark.parametrize(
    ("key", "value", "is_another"),
    [(*change, True) for change in ANOTHER_RECIPE.items()]
    + [(*change, False) for change in THE_SAME_RECIPE.items()],
)
def test_compare_resume_and_hparams_agree_on_the_recipe(tmp_path, key, value, is_another):
    before, after = yaml.safe_load(CONFIG), changed(key, value)
    for seed, config in enumerate((before, before, after), start=1):
        write_run(tmp_path / str(seed), seed=seed)
        written = yaml.safe_dump(config | {"seed_everything": seed})
        (tmp_path / str(seed) / "config.yaml").write_text(written)
    rows, _ = group(read_runs([tmp_path])[0])
    assert sorted(len(row.runs) for row in rows) == ([1, 2] if is_another else [3])
    assert (hyperparameters(before) != hyperparameters(after)) == is_another
    started = RunFolder(str(tmp_path / "1"), "lenet")
    if is_another:
        with pytest.raises(UserError, match="was started with"):
            check_recipe(started, yaml.safe_dump(after))
    else:
        check_recipe(started, yaml.safe_dump(after))


def test_another_seed_is_the_same_recipe_and_another_run(tmp_path):
    before, after = yaml.safe_load(CONFIG), changed("seed_everything", 2)
    (tmp_path / "config.yaml").write_text(CONFIG)
    with pytest.raises(UserError, match="seed_everything 1, not 2"):
        check_recipe(RunFolder(str(tmp_path), "lenet"), yaml.safe_dump(after))
    assert set(hyperparameters(before).items()) ^ set(hyperparameters(after).items()) == {
        ("seed_everything", 1),
        ("seed_everything", 2),
    }


def test_results_without_configs_are_grouped_by_their_fields(compare, tmp_path):
    for number, (seed, epochs) in enumerate(((1, 3), (2, 3), (1, 9))):
        write_run(tmp_path / "runs" / str(number), seed=seed, epochs=epochs)
        for name in ("config.yaml", "metrics.csv"):
            (tmp_path / "runs" / str(number) / name).unlink()
    ended = compare()
    assert (ended.status, ended.err) == (0, "")
    names = {row["recipe"]: row["seeds"] for row in read_rows("runs/comparison/results.csv")}
    assert names == {"lenet (epochs 3)": "1 2", "lenet (epochs 9)": "1"}
    assert not Path("runs/comparison/learning_curves.png").exists()


def cut(name, end):
    def damage(folder):
        path = folder / name
        path.write_text(path.read_text()[:end])

    return damage


def change(**fields):
    def damage(folder):
        results = json.loads((folder / "results.json").read_text()) | fields
        kept = {key: value for key, value in results.items() if value is not ...}
        (folder / "results.json").write_text(json.dumps(kept))

    return damage


def write(name, text):
    return lambda folder: (folder / name).write_text(text)


def pipe(name):
    def damage(folder):
        (folder / name).unlink()
        os.mkfifo(folder / name)

    return damage


def folder(name):
    def damage(folder):
        (folder / name).unlink()
        (folder / name).mkdir()

    return damage


# Each doubles the one before: more than a billion in a few lines.
ALIASES = "".join(f"{b}: &{b} [*{a}, *{a}]\n" for a, b in pairwise("abcdefghijklmnopqrstuvwxyz"))
UNUSABLE = {
    "killed": (lambda folder: (folder / "results.json").unlink(), "unfinished: no results.json"),
    "cut results": (cut("results.json", 50), "damaged: results.json"),
    "other JSON": (lambda f: (f / "results.json").write_text("[1]"), "results.json lacks config"),
    "field missing": (change(macs=...), "results.json lacks macs"),
    "field of a wrong type": (change(macs="many"), "macs in results.json is 'many'"),
    "not a number": (change(test_loss=float("nan")), "test_loss in results.json is nan"),
    "cut metrics": (cut("metrics.csv", 122), "damaged: metrics.csv, line 4"),
    "binary metrics": (
        lambda f: (f / "metrics.csv").write_bytes(b"\xff\0"),
        "metrics.csv is not text",
    ),
    "column missing": (lambda f: (f / "metrics.csv").write_text("a,b\n1,2\n"), "no val/acc"),
    "cut config": (lambda f: (f / "config.yaml").write_text("model: {"), "config.yaml"),
    "seed of 400 digits": (write("results.json", '{"seed": 1%s}' % ("0" * 400)), "lacks config"),
    "seed of 5,000 digits": (write("results.json", '{"seed": 1%s}' % ("0" * 5000)), "results.json"),
    "seed that is no count": (change(seed=10**400), "seed in results.json is 1000"),
    "seed below 0": (change(seed=-1), "seed in results.json is -1"),
    "yes for a number": (change(epochs=True), "epochs in results.json is True"),
    "accuracy beyond 1": (change(test_accuracy=1e308), "test_accuracy in results.json is 1e+308"),
    "validation beyond 1": (change(val_accuracy=2), "val_accuracy in results.json is 2"),
    "hours without an end": (change(train_cpu_seconds=1e300), "train_cpu_seconds"),
    "no name": (change(config=""), "config in results.json is ''"),
    "number for a commit": (change(commit=5), "commit in results.json is 5"),
    "brackets": (write("results.json", "[" * 100_000), "results.json"),
    "a 45th": (write("config.yaml", "model: 2020-13-45"), "config.yaml is not YAML"),
    "a date": (write("config.yaml", "model: 2020-12-15"), "more than names with plain values"),
    "numbers for names": (write("config.yaml", "1: x"), "more than names with plain values"),
    "a list within itself": (write("config.yaml", "a: &a [*a]"), "more than names"),
    "a list of lists of lists": (
        write("config.yaml", "a: &a [1, 1]\n" + ALIASES + "model: *z\n"),
        "more than names with plain values",
    ),
    "deep brackets": (write("config.yaml", "[" * 10_000), "config.yaml is not YAML"),
    "code": (write("config.yaml", "a: !!python/object/apply:os.getcwd []"), "is not YAML"),
    "no number of an epoch": (write("metrics.csv", "epoch,val/acc\ninf,0.5\n"), "line 2"),
    "no number for an accuracy": (write("metrics.csv", "epoch,val/acc\n1,nan\n"), "line 2"),
    "too large a file": (write("metrics.csv", "1" * 10_000_001), "metrics.csv is too large"),
    "a pipe": (pipe("results.json"), "results.json is too large or not a file"),
    "a pipe for a config": (pipe("config.yaml"), "config.yaml is too large or not a file"),
    "a folder": (folder("metrics.csv"), "metrics.csv is too large or not a file"),
}


@pytest.mark.parametrize("kind", UNUSABLE)
def test_an_unfinished_or_damaged_run_is_listed_and_left_out(compare, tmp_path, kind):
    write_run(tmp_path / "runs" / "1", seed=1)
    write_run(tmp_path / "runs" / "2", seed=2, test_accuracy=0.1)
    damage, reason = UNUSABLE[kind]
    damage(tmp_path / "runs" / "2")
    ended = compare()
    assert (ended.status, ended.err) == (0, "")
    (line,) = [line for line in ended.out.splitlines() if line.startswith("runs/2: ")]
    assert reason in line
    assert ended.out.index("99.00") < ended.out.index(line)
    (row,) = read_rows("runs/comparison/results.csv")
    assert (row["seeds"], row["test_accuracy_mean"]) == ("1", "0.99")


HOSTILE = "\x1b[31m`a`|<script>alert(1)</script>![x](http://x)$\\frac$\n**b**\u202e"


def test_control_characters_in_names_have_no_effect(compare, tmp_path):
    write_run(tmp_path / "runs" / "1", config=HOSTILE, dataset=HOSTILE, device=HOSTILE)
    write_run(tmp_path / "runs" / "2", config="$$", seed=2)
    write_run(tmp_path / "runs" / "3\x1b[31m", seed=3)
    (tmp_path / "runs" / "3\x1b[31m" / "results.json").unlink()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ended = compare()
    assert (ended.status, ended.err) == (0, "")
    assert all(char.isprintable() or char == "\n" for char in ended.out)
    assert r"3\x1b[31m: unfinished" in ended.out
    page = Path("runs/comparison/results.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) == 1
    assert len(rows) == 2 + 2
    assert all(char.isprintable() or char == "\n" for char in page)
    assert not re.search(r"(?<!\\)[<`*\[]", page)
    assert [row["config"] for row in read_rows("runs/comparison/results.csv")] == [HOSTILE, "$$"]


@pytest.mark.parametrize("name", ["results.md", "results.csv", "learning_curves.png"])
def test_only_regular_files_are_overwritten(compare, tmp_path, name):
    write_run(tmp_path / "runs" / "1")
    (tmp_path / "out").mkdir()
    os.mkfifo(tmp_path / "out" / name)
    ended = compare("--out", "out")
    assert ended.status == 2
    assert name in ended.err
    assert stat.S_ISFIFO((tmp_path / "out" / name).stat().st_mode)


def test_a_link_stays_a_link(compare, tmp_path):
    write_run(tmp_path / "runs" / "1")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "results.md").symlink_to(tmp_path / "page.md")
    assert compare("--out", "out").status == 0
    assert (tmp_path / "out" / "results.md").is_symlink()
    assert "lenet" in (tmp_path / "page.md").read_text()


def test_trials_of_a_sweep_are_not_unfinished_runs(compare, tmp_path):
    write_run(tmp_path / "runs" / "1")
    write_run(tmp_path / "runs" / "sweep" / "lenet" / "0")
    (tmp_path / "runs" / "sweep" / "lenet" / "0" / "results.json").unlink()
    (tmp_path / "runs" / "sweep" / "lenet" / "sweep.db").touch()
    ended = compare()
    assert ended.status == 0
    assert "left out" not in ended.out
    assert "sweep" not in ended.out


NETS = ("lenet.LeNet5", "vgg.vgg11", "vgg.vgg16", "nin.NiN", "resnet.resnet18", "resnet.resnet101")


def test_the_table_fits_80_columns_and_the_pictures_800_pixels(compare, tmp_path):
    for number, net in enumerate(NETS):
        for seed in (1, 2):
            write_run(
                tmp_path / "runs" / str(number) / str(seed),
                config=f"{net.rpartition('.')[2]}_with_a_name_that_is_long",
                net=f"models.{net}",
                dataset=("MNIST", "FashionMNIST")[number % 2],
                seed=seed,
                parameters=10 ** (number + 3),
                macs=15_466_000_000,
                train_seconds=500_000 / (number + seed),
                images_per_second=123_456.7,
                test_accuracy=0.9 + number / 100 + seed / 1000,
            )
    ended = compare("--out", "here/there")
    table, _, _ = ended.out.partition("here/there")
    assert max(map(len, table.splitlines())) <= 80
    assert "…" not in table
    for figure in ("15,466", "123,457", "91.15 ± 0.07"):
        assert figure in table
    names = {path.name for path in Path("here/there").iterdir()}
    assert names == {"results.md", "results.csv", *PICTURES}
    for name in PICTURES:
        with Image.open(Path("here/there") / name) as picture:
            assert picture.width == 1600  # sharp at 800
            assert picture.getpixel((0, 0))[:3] == (255, 255, 255)


WRONG_USES = {
    "no runs at all": ([], ["runs"]),
    "folder that is not there": (["nowhere"], ["nowhere"]),
    "nothing finished": (["unfinished"], ["unfinished", "no results.json"]),
    "folder without runs": (["empty"], ["empty"]),
    "unknown option": (["--oout", "x"], ["--oout", "--help"]),
    "out is a file": (["finished", "--out", "file"], ["file", "--out"]),
}


@pytest.mark.parametrize("use", WRONG_USES)
def test_a_wrong_use_gets_one_line(compare, tmp_path, use):
    write_run(tmp_path / "finished" / "1")
    write_run(tmp_path / "unfinished" / "1")
    (tmp_path / "unfinished" / "1" / "results.json").unlink()
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("mine")
    arguments, named = WRONG_USES[use]
    ended = compare(*arguments)
    assert ended.status == 2
    assert len(ended.err.splitlines()) == 1
    for word in named:
        assert word in ended.err
    assert not (tmp_path / "runs" / "comparison").exists()
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.slow
def test_help_works_from_any_folder(tmp_path):
    ended = run(sys.executable, ROOT / "compare.py", "--help", cwd=tmp_path)
    assert (ended.status, ended.err) == (0, "")
    assert "--out DIR" in ended.out
    assert not list(tmp_path.iterdir())


def test_code_named_in_a_run_is_not_imported(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "theirs.py").write_text("raise AssertionError('it was imported')")
    found = recipe({"model": {"class_path": "theirs.Net", "init_args": {"a": 1}}})
    assert {key: value for key, value in found.items() if key.startswith("model.")} == {
        "model.class_path": "theirs.Net",
        "model.init_args.a": 1,
    }


@pytest.mark.parametrize(
    ("others", "time"),
    [
        ({"train_cpu_seconds": 300.0}, "train_cpu_seconds"),
        ({"train_cpu_seconds": 30.0, "device": "NVIDIA H100 80GB HBM3"}, "train_seconds"),
        ({}, "train_seconds"),  # from a version that did not measure it
    ],
)
def test_times_are_comparable_between_runs(compare, tmp_path, others, time):
    write_run("runs/a/1", train_cpu_seconds=250.0)
    write_run("runs/b/1", lr=0.02, **others)
    recipes, _ = group(read_runs([Path("runs")])[0])
    assert time_that_compares(recipes) == time
    assert compare("runs", "--out", "out").status == 0
    assert "| 4.9 min | 4.2 min |" in (tmp_path / "out" / "results.md").read_text()
