"""Weights saved by a plain PyTorch loop, used with a config."""

import json

import pytest
import torch
import torchvision
import yaml
from torch.nn import functional as F

import evaluate as evaluate_script
import export as export_script
import predict as predict_script
from datamodules import Digits
from inference.loading import load
from lit_modules import LitClassifier
from models.lenet import LeNet5
from terminal.errors import UserError
from tests.conftest import QUICKSTART, assert_one_line
from tests.datamodules.colours import Colours


@pytest.fixture(scope="module")
def trained_by_hand():
    """A network, its data and its test accuracy and loss, trained and measured as in tutorials."""
    torch.manual_seed(1)
    net, data = LeNet5("tanh"), Digits(image_size=28)
    data.setup("fit")
    data.setup("test")
    images, labels = data.splits["train"]
    images = data.preprocessing(images / 255)
    optimizer = torch.optim.Adam(net.parameters(), 0.005)
    for _ in range(20):
        optimizer.zero_grad()
        F.cross_entropy(net(images), labels).backward()
        optimizer.step()
    images, labels = data.splits["test"]
    with torch.no_grad():
        logits = net.eval()(data.preprocessing(images / 255))
    accuracy = (logits.argmax(1) == labels).double().mean().item()
    return net, accuracy, F.cross_entropy(logits, labels).item()


def plain(path, state):
    torch.save(state, path)


def with_other_things(path, state):
    torch.save({"epoch": 3, "model_state_dict": state, "loss": torch.ones(1)}, path)


def before_torch_1_6(path, state):
    torch.save(state, path, _use_new_zipfile_serialization=False)


def of_a_lightning_module(path, state):
    state = {f"model.{name}": values for name, values in state.items()}
    torch.save({"state_dict": state, "epoch": 1}, path)


def safetensors(path, state):
    pytest.importorskip("safetensors.torch").save_file(state, path)


KINDS = [plain, with_other_things, before_torch_1_6, of_a_lightning_module, safetensors]


@pytest.mark.parametrize("save", KINDS)
def test_weights_are_evaluated_as_in_a_plain_loop(trained_by_hand, run_script, tmp_path, save):
    net, accuracy, loss = trained_by_hand
    save(tmp_path / "best_model.pth", net.state_dict())
    asked = ("best_model.pth", "--config", QUICKSTART, "--json", "out.json")
    ended = run_script(evaluate_script.main, *asked)
    assert (ended.status, ended.err) == (0, "")
    assert "LeNet5, best_model.pth" in ended.out
    figures = json.loads((tmp_path / "out.json").read_text())
    assert 0.2 < accuracy == figures["accuracy"]
    assert figures["loss"] == pytest.approx(loss, rel=1e-5)


@pytest.mark.parametrize("save", KINDS)
def test_weights_without_a_config_get_one_line_that_names_the_option(
    trained_by_hand, run_script, tmp_path, save
):
    save(tmp_path / "best_model.pth", trained_by_hand[0].state_dict())
    ended = run_script(evaluate_script.main, "best_model.pth")
    assert_one_line(ended, ["best_model.pth", "--config"])


def test_weights_can_be_used_for_prediction_and_export(trained_by_hand, run_script, tmp_path):
    net, _, _ = trained_by_hand
    torch.save(net.state_dict(), tmp_path / "best_model.pth")
    asked = ("best_model.pth", "--config", QUICKSTART)
    ended = run_script(predict_script.main, *asked)
    assert (ended.status, ended.err) == (0, "")
    data = Digits(image_size=28)
    data.setup("test")
    with torch.no_grad():
        answers = net(data.preprocessing(data.splits["test"].images[:10] / 255)).argmax(1)
    for line, answer in zip(ended.out.splitlines(), answers, strict=False):
        assert f'predicted: "{answer}"' in line
    pytest.importorskip("onnxruntime")
    ended = run_script(export_script.main, *asked)
    assert (ended.status, ended.err) == (0, "")
    assert "from PyTorch on 256 test images" in ended.out


def config(path, net, data, **init_args):
    model = {"class_path": "lit_modules.LitClassifier", "init_args": {"net": net} | init_args}
    path.write_text(yaml.safe_dump({"model": model, "data": data}))
    return path


def test_classes_and_channels_follow_the_data_as_in_training(tmp_path):
    net = LeNet5(in_channels=3, num_classes=len(Colours.classes))
    torch.save(net.state_dict(), tmp_path / "net.pth")
    colours = {"class_path": "tests.datamodules.colours.Colours", "init_args": {"image_size": 28}}
    asked = config(tmp_path / "c.yaml", "models.lenet.LeNet5", colours)
    classifier, data = load(tmp_path / "net.pth", config=asked)
    assert (data.name, classifier.num_classes) == (Colours.name, len(Colours.classes))
    assert torch.equal(classifier.net.c1.weight, net.c1.weight)
    of_nine = {"class_path": "models.lenet.LeNet5", "init_args": {"num_classes": 9}}
    asked = config(tmp_path / "c.yaml", of_nine, colours)
    with pytest.raises(UserError, match="See the network's num_classes"):
        load(tmp_path / "net.pth", config=asked)


def test_they_do_for_torchvisions_networks_too(tmp_path):
    net = torchvision.models.mobilenet_v3_small(num_classes=17)
    torch.save(net.state_dict(), tmp_path / "net.pth")
    theirs = {"class_path": "torchvision.models.mobilenet_v3_small"}
    asked = config(tmp_path / "c.yaml", theirs, "tests.datamodules.colours.Colours")
    classifier, _ = load(tmp_path / "net.pth", config=asked)
    images = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(classifier(images), net.eval()(images))


def test_the_config_or_the_user_names_the_dataset_folder(tmp_path):
    torch.save(LeNet5().state_dict(), tmp_path / "net.pth")
    augment = [{"class_path": "torch.nn.Identity"}]
    mnist = {"class_path": "datamodules.MNIST", "init_args": {"root": "here", "augment": augment}}
    asked = config(tmp_path / "c.yaml", LENET, mnist)
    for root, folder in ((None, "here"), ("there", "there")):
        _, data = load(tmp_path / "net.pth", root=root, config=asked)
        assert data.files.folder.parts[0] == folder
        assert len(data.augment) == 0  # it is only for training
    _, data = load(tmp_path / "net.pth", dataset="FashionMNIST", config=asked)
    assert data.name == "FashionMNIST"


def test_a_network_built_in_python_is_loaded_by_its_config(run_script, tmp_path, digits_run):
    content = torch.load(digits_run / "checkpoints" / "best.ckpt", weights_only=True)
    del content[LitClassifier.CHECKPOINT_HYPER_PARAMS_KEY]
    torch.save(content, tmp_path / "hand.ckpt")
    assert_one_line(run_script(evaluate_script.main, "hand.ckpt"), ["built in Python", "--config"])
    figures = []
    own_config = ("hand.ckpt", "--config", digits_run / "config.yaml")
    for asked in (own_config, (digits_run / "checkpoints" / "best.ckpt",)):
        ended = run_script(evaluate_script.main, *asked, "--json", "out.json")
        assert (ended.status, ended.err) == (0, "")
        figures.append(json.loads((tmp_path / "out.json").read_text()))
    assert figures[0] == figures[1]


LENET = {"class_path": "models.lenet.LeNet5"}
DIGITS = {"class_path": "datamodules.Digits", "init_args": {"image_size": 28}}
WRONG = {
    "of another network": (
        lambda path: config(path, {"class_path": "models.resnet.resnet18"}, DIGITS),
        ["net.pth", "do not fit this ResNet", "conv1.weight is missing", "Name the config"],
    ),
    "of other sizes": (
        lambda path: config(path, LENET, DIGITS | {"init_args": {"image_size": 28, "channels": 3}}),
        ["c1.weight is (6, 1, 5, 5), not (6, 3, 5, 5). Name the config"],
    ),
    "of images it does not take": (
        lambda path: config(path, LENET, DIGITS | {"init_args": {"image_size": 8}}),
        ["LeNet5 does not accept 8 x 8 images"],
    ),
    "a misspelt key": (
        lambda path: config(path, LENET, DIGITS, label_smothing=0.1),
        ["label_smothing", "c.yaml"],
    ),
    "a network that is not there": (
        lambda path: config(path, {"class_path": "models.lenet.LeNet6"}, DIGITS),
        ["LeNet6", "c.yaml"],
    ),
    "data that are not there": (
        lambda path: config(path, LENET, {"class_path": "datamodules.Digit"}),
        ["Digit", "c.yaml"],
    ),
    "data that are none": (
        lambda path: config(path, LENET, {"class_path": "models.lenet.LeNet5"}),
        ["models.lenet.LeNet5 is not a data module"],
    ),
    "a model that is none": (
        lambda path: path.write_text(yaml.safe_dump({"model": LENET, "data": DIGITS})),
        ["LeNet5"],
    ),
    "no data": (lambda path: path.write_text("model: lit_modules.LitClassifier"), ["class_path"]),
    "a word": (lambda path: path.write_text("lenet"), ["is not a training config"]),
    "nothing": (lambda path: path.write_text(""), ["is not a training config"]),
    "options that are a list": (
        lambda path: config(path, LENET, DIGITS | {"init_args": [1]}),
        ["is not a training config"],
    ),
    "no YAML": (lambda path: path.write_text("{"), ["cannot read the config c.yaml"]),
    "no text": (lambda path: path.write_bytes(b"\x80"), ["cannot read the config c.yaml"]),
    "a folder": (lambda path: path.mkdir(), ["c.yaml is not a file"]),
    "no file": (lambda path: None, ["there is no config c.yaml"]),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_config_gets_one_line(run_script, tmp_path, kind):
    make, named = WRONG[kind]
    make(tmp_path / "c.yaml")
    torch.save(LeNet5().state_dict(), tmp_path / "net.pth")
    assert_one_line(run_script(evaluate_script.main, "net.pth", "--config", "c.yaml"), named)


def test_a_whole_network_is_refused_unexecuted_with_a_config_too(run_script, tmp_path):
    torch.save(LeNet5(), tmp_path / "net.pth")
    ended = run_script(evaluate_script.main, "net.pth", "--config", QUICKSTART)
    assert_one_line(ended, ["torch.save(net.state_dict(), path)", "nothing in it was executed"])
