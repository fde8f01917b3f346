"""Networks and recipes overfit 64 images; `learning.py` tests all networks."""

import pytest
from torch import nn

from datamodules import Digits
from models.alexnet import AlexNet
from models.initialization import init_weights
from models.vgg import VGG, vgg11
from tests.conftest import ROOT
from tests.models.learning import IMAGES, LEARNED, SETTINGS, steps_to_learn
from training.cli import TrainingCLI


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lenet.LeNet5", "vgg.vgg11", "googlenet.GoogLeNet"])
def test_overfits_64_images(name):
    """Without the batch normalisation of their recipes."""
    _, accuracy = steps_to_learn(name)
    assert accuracy >= LEARNED


class FewDigits(Digits):
    def load(self, stage):
        few = super().load(stage)["train"].take(range(IMAGES))
        return {"train": few, "val": few}


def without_hidden_layers(net: AlexNet | VGG) -> AlexNet | VGG:
    """Most weights are in linear layers, which are slow and not part of a recipe."""
    first = next(layer for layer in net.classifier if isinstance(layer, nn.Linear))
    net.classifier = nn.Sequential(nn.Linear(first.in_features, 10))
    return net


def small_alexnet() -> AlexNet:
    return without_hidden_layers(AlexNet())


def small_vgg11(batch_norm: bool = False) -> VGG:
    return without_hidden_layers(vgg11(batch_norm=batch_norm))


CHANGES = {
    "alexnet": ("--model.net", f"{__name__}.small_alexnet"),
    # Dropout prevents overfitting. Batches are a quarter of the recipe's, for which its
    # rate is made (VGG's a sixteenth): some of NiN's classes would die of it.
    "nin": ("--model.net.dropout", "0", "--model.optimizer.lr", "3e-4"),
    "vgg11": ("--model.net", f"{__name__}.small_vgg11", "--model.optimizer.lr", "1e-4"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["alexnet", "vgg11", "nin", "googlenet", "resnet18", "densenet"])
def test_a_recipe_overfits_64_images(name, tmp_path):
    """In 40 steps with its optimizer, schedule and averaged weights."""
    size, _ = SETTINGS[name.rstrip("0123456789")]
    recipe = (
        *("--config", ROOT / "configs" / "laptop" / f"{name}.yaml", *CHANGES.get(name, ())),
        *("--data", f"{__name__}.FewDigits", "--data.image_size", size, "--data.augment", "[]"),
        *("--data.batch_size", 32, "--trainer.max_epochs", 20, "--dashboard", "false"),
        *("--trainer.check_val_every_n_epoch", 20, "--run_dir", tmp_path / "run"),
    )
    cli = TrainingCLI([str(part) for part in recipe])
    cli.trainer.callbacks.remove(cli.keeper)  # checkpoints are large
    with cli.open_run():
        cli.trainer.fit(cli.model, cli.datamodule)
    assert cli.trainer.callback_metrics["train/acc"] >= LEARNED


@pytest.mark.slow
def test_a_network_with_wrong_initialization_does_not():
    """NiN with Kaiming-normal initialization alone, where classes are dead."""
    _, accuracy = steps_to_learn("nin.NiN", lambda net: net.apply(init_weights))
    assert accuracy < 0.8
