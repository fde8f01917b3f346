"""Tests of every config in `configs/`."""

import math
import re

import pytest
import torch
import yaml

from tests.conftest import CONFIGS, ROOT
from training.cli import TrainingCLI
from training.recipe import recipe

LAPTOP = [path for path in CONFIGS if path.parent.name == "laptop"]


def name_of(config):
    return config.relative_to(ROOT / "configs").as_posix()


@pytest.mark.parametrize("config", CONFIGS, ids=name_of)
@pytest.mark.usefixtures("data_root")
def test_config_takes_a_step(config, tmp_path):
    # Small images end as few pixels, too few for batch normalization in a batch of two.
    batch_size = "16" if config in LAPTOP else "2"
    cli = TrainingCLI(
        [
            *("--config", str(config), "--run_dir", str(tmp_path / "run"), "--dashboard", "false"),
            *("--trainer.max_epochs", "1", "--data.batch_size", batch_size),
            *("--trainer.limit_train_batches", "1", "--trainer.limit_val_batches", "1"),
        ]
    )
    cli.trainer.callbacks.remove(cli.keeper)  # checkpoints of VGG-16 are gigabytes
    before = [p.detach().clone() for p in cli.model.net.parameters()]
    with cli.open_run():
        cli.trainer.fit(cli.model, cli.datamodule)
    assert 0 < cli.trainer.callback_metrics["train/loss"].item() < math.inf
    assert 0 <= cli.trainer.callback_metrics["val/acc"].item() <= 1
    after = cli.model.net.parameters()
    assert all(not torch.equal(p, q) for p, q in zip(before, after, strict=True))


@pytest.mark.parametrize("config", CONFIGS, ids=name_of)
def test_config_is_short_and_names_its_command(config):
    text = config.read_text()
    assert len(text.splitlines()) <= 35
    assert f"python train.py --config configs/{name_of(config)}" in text


@pytest.mark.parametrize("config", LAPTOP, ids=name_of)
def test_a_laptop_trains_the_same_network_on_smaller_images(config):
    ours, theirs = (
        yaml.safe_load(path.read_text()) for path in (config, ROOT / "configs" / config.name)
    )
    assert (
        ours["model"]["init_args"]["net"]["class_path"]
        == theirs["model"]["init_args"]["net"]["class_path"]
    )
    assert ours["data"]["class_path"] == theirs["data"]["class_path"]
    assert ours["data"]["init_args"]["image_size"] < theirs["data"]["init_args"]["image_size"]


SAID_AS = {
    "data.init_args.image_size": "images of",
    "data.init_args.batch_size": "batches of",
    "model.init_args.net.init_args.batch_norm": "batch normalization",
    "model.init_args.net.init_args.dropout": "dropout",
    "model.init_args.optimizer.class_path": "AdamW",
    "model.init_args.optimizer.init_args.lr": "rate",
    "trainer.callbacks": "averaged weights",
}


@pytest.mark.parametrize("config", LAPTOP, ids=name_of)
def test_the_comment_of_a_recipe_says_how_it_differs(config):
    """Except for the number of epochs and the arguments of another optimizer."""
    ours, theirs = (
        recipe(yaml.safe_load(path.read_text()))
        for path in (config, ROOT / "configs" / config.name)
    )
    differ = {key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key)}
    differ = {next((said for said in SAID_AS if key.startswith(said)), key) for key in differ}
    differ.discard("trainer.max_epochs")
    if "model.init_args.optimizer.class_path" in differ:
        differ = {key for key in differ if "optimizer.init_args" not in key}
    head = re.match(r"(#.*\n)+", config.read_text())[0].replace("\n# ", " ")
    said = {key for key, words in SAID_AS.items() if words in head.partition(", but ")[2]}
    assert said == differ
