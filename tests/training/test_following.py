"""The numbers of classes and of input channels follow from the data."""

import pytest
import torch
import yaml

import evaluate as evaluate_script
import predict as predict_script
from lit_modules import LitClassifier
from models.resnet import resnet18
from tests.conftest import QUICKLY, ROOT, assert_one_line
from tests.datamodules.colours import Colours

COLOURS = ("--data", "tests.datamodules.colours.Colours")
TRIED = (*COLOURS, "--data.batch_size", 8, "--trainer.fast_dev_run", "true")


@pytest.mark.slow
@pytest.mark.parametrize("config", ["resnet18", "densenet", "googlenet", "laptop/vgg11"])
def test_photographs_of_17_classes_train_on_every_config(train, config):
    ended = train("--config", ROOT / "configs" / f"{config}.yaml", *TRIED, "--data.image_size", 32)
    assert (ended.status, ended.err) == (0, "")


def test_a_network_of_torchvision_follows_the_data_too(train):
    options = ("--model.net", "torchvision.models.mobilenet_v3_small", "--data.image_size", 32)
    assert train(*QUICKLY, *TRIED, *options).status == 0


def test_the_values_from_the_data_are_in_the_saved_config(train, run_script, tmp_path):
    assert train(*QUICKLY, *COLOURS, "--data.image_size", 28, "--run_dir", "run").status == 0
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    net = config["model"]["init_args"]["net"]["init_args"]
    assert (net["num_classes"], net["in_channels"]) == (17, 3)
    best = tmp_path / "run" / "checkpoints" / "best.ckpt"
    classifier = LitClassifier.load_from_checkpoint(best)
    assert classifier(torch.zeros(2, 3, 28, 28)).shape == (2, 17)
    trusted = (best, "--trust_classes")
    assert run_script(evaluate_script.main, *trusted).status == 0
    assert run_script(predict_script.main, *trusted).status == 0
    ended = train("--config", "run/config.yaml", "--run_dir", "run")  # which names them
    assert "run is finished" in ended.out


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--model.net.num_classes", 10], ["LeNet5", "10", "17 classes", "num_classes"]),
        (["--model.num_classes", 5], ["model.num_classes is 5", "17 classes"]),
        (["--model.net.in_channels", 1], ["LeNet5", "3 channels", "in_channels"]),
        (["--data.channels", 1], ["channels must be 3", "Colours"]),
    ],
)
def test_a_value_that_contradicts_the_data_gets_one_line(train, options, named):
    ended = train(*QUICKLY, *COLOURS, "--data.image_size", 28, *options)
    assert_one_line(ended, named)


def test_a_config_that_contradicts_the_data_gets_one_line(train, tmp_path):
    part = {"model": {"init_args": {"net": {"init_args": {"num_classes": 10}}}}}
    (tmp_path / "ten.yaml").write_text(yaml.safe_dump(part))
    ended = train(*QUICKLY, "--config", "ten.yaml", *COLOURS, "--data.image_size", 28)
    assert_one_line(ended, ["LeNet5", "17 classes"])


def test_each_channel_is_normalised_by_its_own_mean_and_std():
    data = Colours()
    data.setup("fit")
    images = data.splits["train"].images
    ours = data.preprocess_images(images, is_training=False)
    for channel in range(3):
        expected = (images[:, channel] / 255 - data.mean[channel]) / data.std[channel]
        assert torch.allclose(ours[:, channel], expected, atol=1e-5)


def test_a_variant_is_called_by_its_name(train, run_script, tmp_path):
    """Not by the class that all variants share."""
    net = ("--model.net", "models.resnet.resnet18", "--data.image_size", 32)
    ended = train(*QUICKLY, *net, "--trainer.limit_train_batches", 2, "--run_dir", "run")
    assert "net     resnet18, 11," in ended.out
    best = tmp_path / "run" / "checkpoints" / "best.ckpt"
    assert "resnet18, " in run_script(evaluate_script.main, best).out
    assert LitClassifier(resnet18()).net_name == "ResNet"
