"""The behaviour of `train.py`."""

import csv
import json
import os
import shutil

import pytest
import torch
import yaml

from lit_modules import LitClassifier
from tests.conftest import QUICKLY, QUICKSTART, assert_one_line
from tests.running import TRAIN, run

SCALARS = {"train/loss", "train/acc", "val/loss", "val/acc", "test/loss", "test/acc", "lr"}

PERFORMANCE = {"performance/images_per_second", "performance/peak_memory_gib"}  # no two are equal


@pytest.mark.slow
def test_the_quick_start_reaches_97_percent(digits_run):
    results = json.loads((digits_run / "results.json").read_text())
    assert results["test_accuracy"] >= 0.97
    out = (digits_run.parents[2] / "out.txt").read_text()
    assert all(len(line) <= 80 for line in out.splitlines())
    for shown in ("LeNet5", "61,706", "Digits", "32-true", "runs/quickstart/1", "tensorboard"):
        assert shown in out
    assert f"{results['test_accuracy']:.2%}" in out
    assert "checkpoints/best.ckpt" in out


def test_a_run_folder_has_the_promised_files(quickstart, tmp_path):
    quickstart("--seed_everything", "7", "--trainer.max_epochs", "2")
    run = tmp_path / "run"
    names = {str(p.relative_to(run)) for p in run.rglob("*") if p.is_file()}
    events = {name for name in names if name.startswith("events.out.tfevents.")}
    assert events
    assert names - events == {
        *("config.yaml", "metrics.csv", "results.json", ".lock"),
        *("checkpoints/best.ckpt", "checkpoints/last.ckpt"),
    }
    results = json.loads((run / "results.json").read_text())
    assert (
        results
        | {
            "config": "quickstart",
            "net": "models.lenet.LeNet5",
            "dataset": "Digits",
            "image_size": 28,
            "seed": 7,
            "parameters": 61_706,
            "macs": 416_520,
            "epochs": 2,
            "precision": "32-true",
            "world_size": 1,
        }
        == results
    )
    for key in ("train_seconds", "images_per_second", "peak_memory_bytes", "test_loss"):
        assert results[key] > 0
    for key in ("val_accuracy", "test_accuracy"):
        assert 0 <= results[key] <= 1
    assert results["best_epoch"] in (0, 1)
    assert set(results["versions"]) == {"python", "torch", "torchvision", "lightning", "cuda"}
    assert results["device"]
    assert "commit" in results


def test_scalars_have_the_same_names_in_both_logs(digits_run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(digits_run))
    events.Reload()
    assert set(events.Tags()["scalars"]) == SCALARS | PERFORMANCE
    with open(digits_run / "metrics.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert set(rows[0]) == SCALARS | {"step", "epoch"}
    for name in SCALARS:
        in_csv = [(int(row["step"]), float(row[name])) for row in rows if row[name]]
        in_events = [(event.step, event.value) for event in events.Scalars(name)]
        assert [step for step, _ in in_csv] == [step for step, _ in in_events]
        assert [v for _, v in in_csv] == pytest.approx([v for _, v in in_events])


def test_the_best_checkpoint_is_the_one_that_is_tested(quickstart, tmp_path):
    """Training gets worse after the first epoch, which must stay the best one."""
    quickstart(
        *("--trainer.max_epochs", "3", "--model.schedule", "torch.optim.lr_scheduler.StepLR"),
        *("--model.schedule.step_size", "1", "--model.schedule.gamma", "1000"),
    )
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["best_epoch"] == 0
    best = torch.load(tmp_path / "run" / "checkpoints" / "best.ckpt", weights_only=True)
    last = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    assert (best["epoch"], last["epoch"]) == (0, 2)
    with open(tmp_path / "run" / "metrics.csv", encoding="utf-8") as file:
        accuracies = [float(row["val/acc"]) for row in csv.DictReader(file) if row["val/acc"]]
    assert results["val_accuracy"] == accuracies[0] > max(accuracies[1:])
    assert results["test_accuracy"] > 0.5


def test_loading_needs_only_the_checkpoint(quickstart, tmp_path):
    quickstart("--model.net.activation", "relu", "--model.label_smoothing", "0.1")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    path = shutil.move(tmp_path / "run" / "checkpoints" / "best.ckpt", elsewhere / "net.ckpt")
    shutil.rmtree(tmp_path / "run")
    state = torch.load(path, weights_only=True)["state_dict"]
    module = LitClassifier.load_from_checkpoint(path, weights_only=True)
    assert isinstance(module.net.activation, torch.nn.ReLU)
    assert module.label_smoothing == 0.1
    assert torch.equal(module.net.c1.weight, state["net.c1.weight"])


def test_the_saved_config_repeats_the_run(quickstart, train, tmp_path):
    quickstart("--model.optimizer.lr", "0.01")
    first = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    ended = train("--config", tmp_path / "run" / "config.yaml")
    assert (ended.status, ended.err) == (0, "")
    again = tmp_path / "runs" / "quickstart" / "1"
    second = torch.load(again / "checkpoints" / "last.ckpt", weights_only=True)
    for name, tensor in first["state_dict"].items():
        assert torch.equal(tensor, second["state_dict"][name])
    assert json.loads((again / "results.json").read_text())["config"] == "quickstart"


def test_later_configs_and_arguments_win(quickstart, tmp_path):
    (tmp_path / "wide.yaml").write_text(
        "data: {init_args: {batch_size: 100}}\nmodel: {init_args: {net: {init_args: "
        "{activation: relu}}}}\n"
    )
    quickstart("--config", "wide.yaml", "--data.batch_size", "50")
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert config["data"]["init_args"]["batch_size"] == 50
    assert config["data"]["init_args"]["image_size"] == 28
    assert config["model"]["init_args"]["net"]["init_args"]["activation"] == "relu"
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["config"] == "quickstart+wide"


def test_adamw_keeps_its_own_weight_decay(trained):
    """A default of another optimizer must not apply to the config's optimizer."""
    config = yaml.safe_load((trained(*QUICKLY) / "config.yaml").read_text())
    assert config["model"]["init_args"]["optimizer"]["init_args"]["weight_decay"] == 0.01


def test_the_last_epoch_marked_best_is_the_best_epoch(digits_run):
    """Also if epochs with the same accuracy differ only in their loss."""
    out = (digits_run.parents[2] / "out.txt").read_text()
    marked = [int(line.split("/")[0]) for line in out.splitlines() if line.endswith("best")]
    results = json.loads((digits_run / "results.json").read_text())
    assert marked[-1] == results["best_epoch"] + 1


def test_brackets_in_a_path_are_not_markup(quickstart, tmp_path):
    ended = quickstart("--run_dir", "[bold]/[x]")
    assert ended.status == 0
    assert "run     [bold]/[x]" in ended.out


def test_each_start_gets_a_fresh_folder(train, tmp_path):
    for _ in range(2):
        train("--config", QUICKSTART, "--trainer.max_epochs", "1")
    assert sorted(p.name for p in (tmp_path / "runs" / "quickstart").iterdir()) == ["1", "2"]


def test_a_finished_run_says_so_and_is_not_changed(trained, quickstart, tmp_path):
    shutil.copytree(trained(*QUICKLY), tmp_path / "run")
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "run").rglob("*") if p.is_file()}
    ended = quickstart()
    assert ended.status == 0
    assert "is finished" in ended.out
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "run").rglob("*") if p.is_file()} == before


@pytest.mark.parametrize("options", [(), ("--run_dir", "run")])
@pytest.mark.parametrize("trial", ["fast_dev_run", "overfit_batches"])
def test_a_trial_saves_nothing(train, tmp_path, monkeypatch, trial, options):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    ended = train(*QUICKLY, *options, f"--trainer.{trial}", "1")
    assert (ended.status, ended.err) == (0, "")
    assert "a trial: nothing is kept" in ended.out
    tested = [line for line in ended.out.splitlines() if line.startswith("test")]
    figureless = ["test  64 images; a trial shows no accuracy"]
    assert tested == (figureless if trial == "fast_dev_run" else [])
    assert list(tmp_path.iterdir()) == []


def test_a_trial_does_not_change_the_run_in_its_folder(trained, train, tmp_path):
    shutil.copytree(trained(*QUICKLY), tmp_path / "run")
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    assert train(*QUICKLY, "--run_dir", "run", "--trainer.fast_dev_run", "1").status == 0
    now = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    assert now == before


def test_two_batches_can_be_overfitted(train):
    overfitting = ("--trainer.overfit_batches", "2", "--trainer.max_epochs", "20")
    out = train("--config", QUICKSTART, "--dashboard", "false", *overfitting).out
    accuracies = [float(line.split()[2].rstrip("%")) for line in out.splitlines() if "/20 " in line]
    assert len(accuracies) == 20
    assert accuracies[0] < 60
    assert accuracies[-1] > 99  # of 128 images; the whole training set has 85 after an epoch
    assert "test" not in out


def test_the_users_loggers_and_checkpoints_are_added_to_ours(quickstart, tmp_path):
    ended = quickstart(
        *("--trainer.logger+=lightning.pytorch.loggers.CSVLogger", "--trainer.logger.save_dir=own"),
        *("--trainer.callbacks+=ModelCheckpoint", "--trainer.callbacks.filename={epoch}"),
    )
    assert (ended.status, ended.err) == (0, "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["own", "run"]
    names = sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir())
    assert names == ["best.ckpt", "epoch=0.ckpt", "last.ckpt"]
    with open(tmp_path / "run" / "metrics.csv", encoding="utf-8", newline="") as ours:
        (own,) = (tmp_path / "own").rglob("metrics.csv")
        with open(own, encoding="utf-8", newline="") as theirs:
            figures = [
                {float(row["val/loss"]) for row in csv.DictReader(file) if row["val/loss"]}
                for file in (ours, theirs)
            ]
    assert figures[0] == figures[1] != set()
    assert list((tmp_path / "run").glob("events.out.tfevents.*"))


WRONG_USES = {
    "misspelt key": (["--trainr.max_epochs", "1"], ["--trainr.max_epochs", "--help"]),
    "shortened key": (
        ["--trainer.max_epoch", "1"],
        ["--trainer.max_epoch", "--help", "Did you mean --trainer.max_epochs?"],
    ),
    "misspelt option of the net": (["--model.net.activatoin", "relu"], ["activatoin"]),
    "misspelt option of the data": (["--data.batchsize", "1"], ["batchsize"]),
    "value of the wrong type": (["--data.batch_size", "many"], ["batch_size", "many", "int"]),
    "unknown choice": (["--model.net.activation", "gelu"], ["activation", "gelu", "tanh"]),
    "batch size out of range": (["--data.batch_size", "0"], ["batch_size", "at least 1"]),
    "learning rate out of range": (["--model.optimizer.lr", "-1"], ["learning rate", "-1"]),
    "warm-up out of range": (["--model.schedule.warmup", "2"], ["warmup", "[0, 1)"]),
    "steps instead of epochs": (["--trainer.max_steps", "9"], ["max_steps", "trainer.max_epochs"]),
    "two channels": (["--data.channels", "2"], ["data.channels"]),
    "no steps": (["--trainer.max_steps", "0"], ["max_steps", "trainer.max_epochs"]),
    "time instead of epochs": (["--trainer.max_time", "00:00:00:01"], ["max_time", "max_epochs"]),
    "a last checkpoint of one's own": (
        ["--trainer.callbacks+=ModelCheckpoint", "--trainer.callbacks.save_last", "true"],
        ["save_last", "last.ckpt"],
    ),
    "a best checkpoint of one's own": (
        ["--trainer.callbacks+=ModelCheckpoint", "--trainer.callbacks.filename", "best"],
        ["filename best", "Choose another name"],
    ),
    "no epochs": (["--trainer.max_epochs", "0"], ["max_epochs", "at least 1", "0"]),
    "endless epochs": (["--trainer.max_epochs", "-1"], ["max_epochs", "at least 1", "-1"]),
    "nothing to test on": (["--trainer.limit_test_batches", "0"], ["limit_test_batches 0"]),
    "no steps to log": (["--trainer.log_every_n_steps", "0"], ["log_every_n_steps", "at least 1"]),
    "another way to start": (["--trainer.strategy", "ddp_spawn"], ["ddp_spawn", "ddp"]),
    "epochs out of range": (["--trainer.max_epochs", "-5"], ["max_epochs", "-5"]),
    "class that is not there": (
        ["--model.net", "models.lenet.lenet6"],
        ["lenet6", "net", "Did you mean models.lenet.LeNet5?"],
    ),
    "class like a module": (["--data", "datamodules.Mnist"], ["Did you mean datamodules.MNIST?"]),
    "module that is no class": (["--model.net", "models.LeNet5"], ["attribute 'LeNet5'. See"]),
    "class unlike any other": (["--model.net", "models.lenet.Swin"], ["attribute 'Swin'. See"]),
    "module that is not there": (
        ["--model.net", "nowhere.Net"],
        ["nowhere", "Looked for in"],
    ),
    "file instead of a module": (["--model.net", "./mynet.py"], ["./mynet.py", "mynet.Net"]),
    "module instead of a class": (["--model.net", "mynet"], ["mynet.", "mynet.Net"]),
    "config that is not there": (["--config", "configs/lenet6.yaml"], ["configs/lenet6.yaml"]),
    "device that is not there": (["--trainer.accelerator", "tpux"], ["tpux"]),
    "image size": (["--data.image_size", "8"], ["LeNet5", "8 x 8", "28 x 28"]),
    "channels": (
        ["--data.channels", "3", "--model.net.in_channels", "1"],
        ["LeNet5", "3 channels", "data.channels"],
    ),
    "number of classes": (["--model.net.num_classes", "7"], ["LeNet5", "7", "10 classes"]),
    "missing data": (["--data", "datamodules.MNIST", "--data.root", "nowhere"], ["nowhere", "gz"]),
}


@pytest.mark.parametrize("use", WRONG_USES)
def test_a_wrong_use_gets_one_line(quickstart, tmp_path, use, monkeypatch):
    from datamodules import MNIST

    monkeypatch.setattr(MNIST, "mirrors", ["http://127.0.0.1:9/"])
    arguments, named = WRONG_USES[use]
    ended = quickstart(*arguments)
    assert_one_line(ended, named)
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "runs").exists()


def test_no_config_at_all_gets_one_line(train):
    ended = train()
    assert ended.status == 2
    assert "python train.py --config configs/quickstart.yaml" in ended.err
    assert len(ended.err.splitlines()) == 1


BROKEN_CONFIGS = {
    "brackets": ("model: {class_path: [\n", ["config.yaml", "line 2"]),
    "a tab": ("trainer:\n\tmax_epochs: 1\n", ["config.yaml", "line 2"]),
    "bytes": (b"\xff\xfe", ["config.yaml"]),
    "a block that stands twice": (
        "trainer: {max_epochs: 1}\ndata: {}\ntrainer: {precision: 32-true}\n",
        ["config.yaml", "trainer twice", "1 and 3"],
    ),
    "a key that stands twice": (
        "trainer:\n  max_epochs: 1\n  max_epochs: 2\n",
        ["config.yaml", "max_epochs twice", "2 and 3"],
    ),
    "a list": ("- 1\n", ["config"]),
    "no seed": ("seed_everything: null\n", ["seed_everything", "None"]),
    "a NUL": ('run_dir: "a\\0b"\n', ["run_dir", "NUL"]),
    "a NUL in a folder": (
        'data: {class_path: datamodules.MNIST, init_args: {root: "a\\0b"}}\n',
        ["root", "NUL"],
    ),
    "brackets without an end": ("[" * 10_000, ["config.yaml"]),
}


@pytest.mark.parametrize("kind", BROKEN_CONFIGS)
def test_a_broken_config_gets_one_line(train, tmp_path, kind):
    content, named = BROKEN_CONFIGS[kind]
    path = tmp_path / "config.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert_one_line(train("--config", QUICKSTART, "--config", "config.yaml"), named)
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


def test_a_trainer_that_is_a_number_gets_one_line(train, tmp_path):
    """Also with another option of the Trainer, while the rest are missing."""
    (tmp_path / "config.yaml").write_text("trainer: 5\n")
    ended = train("--config", QUICKSTART, "--config", "config.yaml", "--trainer.benchmark", "true")
    assert_one_line(ended, ["trainer"])


def test_a_config_that_is_not_a_file_does_not_block(train, tmp_path):
    os.mkfifo(tmp_path / "config.yaml")
    assert_one_line(train("--config", "config.yaml"), ["config.yaml", "not a file"])


def test_a_config_from_a_pipe(train, tmp_path):
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as file:
        file.write(QUICKSTART.read_text())
    ended = train("--config", f"/dev/fd/{reading}", *QUICKLY[2:], "--run_dir", "run")
    os.close(reading)
    assert (ended.status, ended.err) == (0, "")


def out_of_memory():
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


@pytest.mark.parametrize(
    "fill", [lambda: torch.empty(2**50), lambda: bytearray(2**60), out_of_memory]
)
def test_out_of_memory_gets_one_line(quickstart, monkeypatch, fill):
    monkeypatch.setattr("train.train", lambda *args: fill())
    assert_one_line(quickstart(), ["memory", "data.batch_size"])


def test_a_module_in_the_current_folder_is_not_imported(quickstart, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "jsonargparse._stubs_resolver.stubs_resolver", None
    )  # as at the start of a process
    (tmp_path / "json.py").write_text("from pathlib import Path\nPath('imported').touch()")
    linear = {"class_path": "torch.nn.Linear", "init_args": {"in_features": 28, "out_features": 9}}
    ended = quickstart("--model.net", json.dumps(linear))
    assert_one_line(ended, ["Linear", "(1, 28, 9)"])
    assert not (tmp_path / "imported").exists()


def test_a_bug_keeps_its_traceback(quickstart, monkeypatch):
    def broken(*args):
        raise TypeError("a bug")

    monkeypatch.setattr(LitClassifier, "training_step", broken)
    with pytest.raises(TypeError, match="a bug"):
        quickstart()


def test_a_bug_in_the_constructor_of_a_net_keeps_its_traceback(quickstart, monkeypatch):
    monkeypatch.setattr("models.lenet.init_weights", lambda module: {}["a bug"])
    with pytest.raises(KeyError, match="a bug"):
        quickstart()


def test_help_and_print_config_work_from_any_folder(train, tmp_path):
    ended = train("--help")
    assert ended.status == 0
    for option in ("--config", "--run_dir", "--seed_everything", "--trainer.max_epochs", "--model"):
        assert option in ended.out
    ended = train("--config", QUICKSTART, "--print_config")
    assert (ended.status, ended.err) == (0, "")
    assert yaml.safe_load(ended.out)["trainer"]["max_epochs"] == 10
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_script_prints_nothing_superfluous(tmp_path):
    """In a new interpreter, where imports may print too, and from another folder."""
    ended = run(*TRAIN, "--config", QUICKSTART, "--trainer.max_epochs", "1", cwd=tmp_path)
    assert (ended.status, ended.err) == (0, "")
    assert len(ended.out.splitlines()) == 9  # header 4, table 2, result 3
