"""The warning of a long training in the header."""

import re
import time

import pytest
import torch
import yaml
from torch.nn import functional as F

from models.resnet import resnet18
from tests.conftest import QUICKSTART, ROOT
from training.cli import TrainingCLI

RESNET18 = ROOT / "configs" / "resnet18.yaml"


def header(*args):
    cli = TrainingCLI(["--config", *map(str, args), "--trainer.accelerator", "cpu"])
    with cli.open_run():
        return cli.facts()


@pytest.fixture(autouse=True)
def _in_an_empty_folder(monkeypatch, tmp_path, data_root):
    monkeypatch.chdir(tmp_path)


def test_a_long_training_names_its_time_and_shorter_recipes():
    facts = header(RESNET18, "--trainer.max_epochs", 1000)
    said = re.fullmatch(r"about ([\d,]+) hours on this processor; (.*)", facts["time"])
    hours, advice = said.groups()
    assert advice == f"--config {RESNET18.parent / 'laptop' / RESNET18.name} is made for one"
    # A plain step on images for about half a second. On a shared machine, twice as long is not an
    # error; ten times would be.
    net, images = resnet18(), torch.zeros(8, 1, 224, 224)
    for _ in range(2):
        start = time.process_time()
        with torch.autocast("cpu", torch.bfloat16, enabled="bf16" in facts["device"]):
            loss = F.cross_entropy(net(images).float(), torch.zeros(8, dtype=torch.long))
        loss.backward()
        seconds = time.process_time() - start
    expected = seconds / 8 / torch.get_num_threads() * 55_000 * 1000 / 3600
    assert expected / 10 < int(hours.replace(",", "")) < expected * 10


@pytest.mark.parametrize(
    "options",
    [
        (ROOT / "configs" / "quickstart.yaml",),
        (ROOT / "configs" / "lenet.yaml",),
        (RESNET18.parent / "laptop" / RESNET18.name,),
        (RESNET18, "--trainer.max_epochs", 1, "--trainer.limit_train_batches", 10),
        (RESNET18, "--data.image_size", 32),
    ],
)
def test_a_short_training_names_no_time(options, monkeypatch):
    monkeypatch.setattr("training.duration.seconds_of_image", lambda *_: 1 / 191)
    assert "time" not in header(*options)


def test_on_a_slow_processor_a_short_recipe_is_long(monkeypatch):
    """At the speed of a processor with narrow vectors and without bfloat16."""
    monkeypatch.setattr("training.duration.seconds_of_image", lambda *_: 1 / 20)
    recipe = RESNET18.parent / "laptop" / RESNET18.name
    hours = yaml.safe_load(recipe.read_text())["trainer"]["max_epochs"] * 55_000 / 20 / 3600
    assert header(recipe)["time"] == f"about {hours:.0f} hours on this processor"


def test_the_hours_count_all_epochs_and_batches(monkeypatch):
    monkeypatch.setattr("training.duration.LONG", 0)
    monkeypatch.setattr("training.duration.seconds_of_image", lambda *_: 3600 / 55_000)
    options = (RESNET18, "--data.image_size", 64, "--trainer.max_epochs", 20)
    assert header(*options)["time"].startswith("about 20 hours")
    half = header(*options, "--trainer.limit_train_batches", 0.5)
    assert half["time"].startswith("about 10 hours")


def test_the_hours_count_only_what_is_left(monkeypatch):
    recipe = ("--data", "datamodules.Digits", "--trainer.max_epochs")
    brief = ("--trainer.limit_train_batches", 1, "--dashboard", "false", "--run_dir", "run")
    monkeypatch.setattr("training.duration.LONG", 0)
    monkeypatch.setattr("training.duration.seconds_of_image", lambda *_: 3600 / 64)
    arguments = [*map(str, (QUICKSTART, *recipe, 5, *brief))]
    cli = TrainingCLI(["--config", *arguments])
    with cli.open_run():
        assert cli.facts()["time"].startswith("about 5 hours")
        cli.trainer.fit_loop.max_epochs = 2  # as if it ended then
        cli.trainer.fit(cli.model, cli.datamodule)
    assert header(*arguments)["time"].startswith("about 3 hours")
