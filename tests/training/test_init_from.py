"""Trainings that start from weights, compared with torch and torchvision."""

import hashlib
import json
import pickle
import re
import shutil
import sys

import pytest
import torch
import torchvision
import yaml
from torch import nn

from lit_modules.checkpoints import read_weights, without_prefixes
from lit_modules.initial_weights import load_whole, start_from
from models.densenet import densenet121
from models.googlenet import GoogLeNet
from models.lenet import LeNet5
from models.resnet import resnet18
from tests.conftest import QUICKLY, assert_one_line
from training.recipe import recipe


def test_torchvisions_resnet18_initializes_ours_with_ten_classes_and_gray_images(tmp_path):
    torch.manual_seed(0)
    theirs = torchvision.models.resnet18()
    torch.save(theirs.state_dict(), path := tmp_path / "resnet18.pth")
    ours = resnet18()
    before = ours.fc.weight.clone()
    start = start_from(ours, read_weights(path), num_classes=10)
    assert (start.fitting, start.tensors) == (120, 122)
    assert start.new == ["fc.weight", "fc.bias"]
    assert torch.equal(ours.fc.weight, before)
    # Up to the last layer, gray images give the same output as in three equal channels.
    ours.fc, theirs.fc = nn.Identity(), nn.Identity()
    gray = torch.rand(4, 1, 64, 64)
    expected = theirs.eval()(gray.expand(-1, 3, -1, -1))
    assert torch.allclose(ours.eval()(gray), expected, rtol=1e-3, atol=1e-4)


def test_gray_kernels_initialize_a_colour_network():
    torch.manual_seed(0)
    gray, colour = LeNet5().eval(), LeNet5(in_channels=3).eval()
    start = start_from(colour, gray.state_dict(), num_classes=10)
    assert (start.fitting, start.new) == (10, [])
    images = torch.rand(4, 1, 28, 28)
    assert torch.allclose(colour(images.expand(-1, 3, -1, -1)), gray(images), atol=1e-5)


def test_kernels_are_summed_over_colours_or_divided_among_them(tmp_path):
    torch.manual_seed(0)
    theirs = torchvision.models.resnet18()
    ours, colour = resnet18(), resnet18(in_channels=3)
    start_from(ours, theirs.state_dict(), num_classes=10)
    red, green, blue = theirs.conv1.weight.unbind(1)
    assert torch.allclose(ours.conv1.weight[:, 0], red + green + blue, atol=1e-6)
    start_from(colour, ours.state_dict(), num_classes=10)
    for kernels in colour.conv1.weight.unbind(1):
        assert torch.allclose(kernels * 3, ours.conv1.weight[:, 0], atol=1e-6)


def test_a_last_layer_that_is_not_in_the_file_keeps_its_initialization():
    theirs = torchvision.models.resnet18()
    body = {n: values for n, values in theirs.state_dict().items() if not n.startswith("fc")}
    ours = resnet18(in_channels=3)
    before = ours.fc.weight.clone()
    start = start_from(ours, body, num_classes=10)
    assert (start.fitting, start.tensors, start.new) == (120, 120, ["fc.weight", "fc.bias"])
    assert torch.equal(ours.fc.weight, before)
    assert torch.equal(ours.layer4[1].conv2.weight, theirs.layer4[1].conv2.weight)


def test_an_inner_layer_as_wide_as_the_last_one_does_not():
    state = LeNet5(num_classes=84).state_dict()  # as f6 is
    del state["f6.weight"], state["f6.bias"]
    with pytest.raises(ValueError, match=r"f6\.weight is missing; f6\.bias is missing$"):
        start_from(LeNet5(num_classes=84), state, num_classes=84)


def test_weights_without_a_fitting_tensor_are_refused():
    layer, other = (nn.Sequential(nn.Flatten(), nn.Linear(784, n)) for n in (10, 5))
    with pytest.raises(ValueError, match="no tensor has the right size"):
        start_from(layer, other.state_dict(), num_classes=10)


def test_auxiliary_heads_keep_their_initialization_too():
    start = start_from(GoogLeNet(num_classes=7), GoogLeNet().state_dict(), num_classes=7)
    assert len(start.new) == 6
    assert start.fitting == start.tensors - 6


def plain(path, state):
    torch.save(state, path)


def in_a_dict(path, state):
    torch.save({"epoch": 3, "model_state_dict": state}, path)


def before_torch_1_6(path, state):
    torch.save(state, path, _use_new_zipfile_serialization=False)


def of_data_parallel(path, state):
    torch.save({f"module.{name}": values for name, values in state.items()}, path)


def compiled_in_a_lightning_module(path, state):
    state = {f"net._orig_mod.{name}": values for name, values in state.items()}
    torch.save({"state_dict": state}, path)


def safetensors(path, state):
    pytest.importorskip("safetensors.torch").save_file(state, path)


@pytest.mark.parametrize(
    "save",
    [
        *(plain, in_a_dict, before_torch_1_6, of_data_parallel),
        *(compiled_in_a_lightning_module, safetensors),
    ],
)
def test_weights_are_read_in_every_format(tmp_path, save):
    torch.manual_seed(0)
    state = LeNet5("tanh").state_dict()
    save(path := tmp_path / "weights", state)
    read = without_prefixes(read_weights(path), state.keys())
    assert sorted(read) == sorted(state)
    assert all(torch.equal(read[name], values) for name, values in state.items())


class Wrapped(nn.Module):
    """A network all of whose names start as a wrapper's do."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))

    def forward(self, images):
        return self.net(images)


@pytest.mark.parametrize(
    ("wrapper", "beside"),
    [
        *[("", {}), ("net.", {}), ("module.net.", {}), ("net._orig_mod.", {})],
        *[("net.", {"criterion.weight": torch.ones(10)})],
    ],
)
def test_a_networks_own_prefix_is_kept_and_what_is_beside_it_left(wrapper, beside):
    net, other = Wrapped(), Wrapped()
    weights = {f"{wrapper}{name}": values for name, values in other.state_dict().items()} | beside
    for load in (load_whole, lambda net, weights: start_from(net, weights, 10)):
        load(net, weights)
        assert torch.equal(net.net[1].weight, other.net[1].weight)
        net = Wrapped()


def test_the_published_files_of_densenet_fit(tmp_path):
    """Their names are older than torchvision's, which renames them as it loads them."""
    torch.manual_seed(0)
    theirs, ours = torchvision.models.densenet121(), densenet121(in_channels=3, num_classes=1000)
    old = {
        re.sub(r"(denselayer\d+\.(?:norm|conv))([12])", r"\1.\2", name): values
        for name, values in theirs.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    torch.save(old, tmp_path / "densenet121.pth")
    load_whole(ours, read_weights(tmp_path / "densenet121.pth"))
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(ours.eval()(images), theirs.eval()(images))


@pytest.fixture
def weights(tmp_path):
    """Weights of the quick start's network, trained in plain PyTorch."""
    torch.manual_seed(5)
    net = LeNet5("tanh")
    torch.save(net.state_dict(), tmp_path / "weights.pth")
    return net


# A learning rate of 0 shows the initial weights.
STILL = ("--model.optimizer.lr", 0, "--model.optimizer.weight_decay", 0)


def test_a_run_starts_from_weights_and_prints_it(quickstart, weights, tmp_path):
    ended = quickstart("--init_from", "weights.pth", *STILL)
    assert (ended.status, ended.err) == (0, "")
    assert "start   10 of 10 tensors of weights.pth" in ended.out
    best = torch.load(tmp_path / "run" / "checkpoints" / "best.ckpt", weights_only=True)
    for name, values in weights.state_dict().items():
        assert torch.equal(best["state_dict"][f"net.{name}"], values)
    content = (tmp_path / "weights.pth").read_bytes()
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    digest = hashlib.sha256(content).hexdigest()
    assert results["init_from"] == {"file": "weights.pth", "sha256": digest}


@pytest.mark.parametrize("options", [(), ("--trainer.fast_dev_run", "true")])
def test_a_run_without_a_named_folder_starts_from_weights_too(train, weights, options):
    ended = train(*QUICKLY, "--init_from", "weights.pth", *options)
    assert (ended.status, ended.err) == (0, "")
    assert "start   10 of 10 tensors of weights.pth" in ended.out
    assert_one_line(train(*QUICKLY, "--init_from", "none.pth"), ["no checkpoint none.pth"])


def gone(path):
    path.unlink()


def of_other_values(path):
    torch.save(LeNet5("tanh").state_dict(), path)


def no_longer_weights(path):
    path.write_text("no weights")


@pytest.mark.parametrize("becomes", [gone, of_other_values, no_longer_weights])
def test_a_resumed_run_does_not_read_initial_weights(quickstart, weights, tmp_path, becomes):
    results = tmp_path / "run" / "results.json"
    assert quickstart("--init_from", "weights.pth").status == 0
    whole = json.loads(results.read_text())
    results.unlink()
    becomes(tmp_path / "weights.pth")
    ended = quickstart("--init_from", "weights.pth")
    assert (ended.status, ended.err) == (0, "")
    assert "start " not in ended.out
    again = json.loads(results.read_text())
    for key in ("init_from", "test_loss", "best_epoch"):
        assert again[key] == whole[key]


def test_weights_belong_to_the_recipe(quickstart, weights, tmp_path):
    assert quickstart().status == 0
    ended = quickstart("--init_from", "weights.pth")
    assert_one_line(ended, ["was started with init_from None, not weights.pth (sha256 "])


def test_recipes_differ_by_the_content_of_weights_not_by_their_name(quickstart, weights, tmp_path):
    assert quickstart("--init_from", "weights.pth").status == 0
    shutil.copy(tmp_path / "weights.pth", tmp_path / "copy.pth")
    torch.save(LeNet5("tanh").state_dict(), tmp_path / "other.pth")
    assert "is finished" in quickstart("--init_from", "copy.pth").out
    ended = quickstart("--init_from", "other.pth")
    assert_one_line(ended, ["started with init_from weights.pth (sha256 ", "not other.pth (sha256"])
    assert_one_line(quickstart("--init_from", "none.pth"), ["not none.pth. Give"])
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    copied = config | {"init_from": config["init_from"].replace("weights.pth", "copy.pth")}
    assert recipe(config) == recipe(copied)
    assert recipe(config) != recipe(config | {"init_from": None})


def test_the_config_of_a_run_starts_from_the_same_weights_or_is_refused(
    quickstart, train, weights, tmp_path
):
    assert quickstart("--init_from", "weights.pth", *STILL).status == 0
    again = ("--config", "run/config.yaml", "--run_dir", "again")
    assert "start   10 of 10 tensors of weights.pth\n" in train(*again).out
    of_other_values(tmp_path / "weights.pth")
    again = (*again[:3], "third")
    assert_one_line(train(*again), ["weights.pth has changed", "--init_from weights.pth."])
    assert not (tmp_path / "third").exists()
    assert train(*again, "--init_from", "weights.pth").status == 0


def test_a_finished_run_says_how_to_train_more_epochs(quickstart, train):
    assert quickstart().status == 0
    ended = quickstart("--trainer.max_epochs", 2)
    assert_one_line(ended, ["max_epochs 1, not 2", "--init_from run/checkpoints/best.ckpt"])
    best = ("--init_from", "run/checkpoints/best.ckpt")
    assert_one_line(quickstart("--trainer.max_epochs", 2, *best), ["another --run_dir"])
    assert train(*QUICKLY, *best, "--run_dir", "longer").status == 0


def test_a_run_on_mnist_initializes_one_on_other_images(quickstart, train, tmp_path):
    assert quickstart().status == 0
    colours = ("--data", "tests.datamodules.colours.Colours", "--data.image_size", 28)
    best = "run/checkpoints/best.ckpt"
    ended = train(*QUICKLY, *colours, "--init_from", best, "--run_dir", "other")
    assert (ended.status, ended.err) == (0, "")
    assert f"start   8 of 10 tensors of {best}; new: output\n" in ended.out


def of_another_network(path):
    torch.save(torchvision.models.resnet18(num_classes=10).state_dict(), path)


def of_other_sizes(path):
    state = LeNet5().state_dict()
    torch.save(state | {"c3.weight": torch.zeros(1, 2, 3, 4)}, path)


def without_a_layer(path):
    state = LeNet5().state_dict()
    torch.save({n: values for n, values in state.items() if not n.startswith("f6")}, path)


def with_another_layer(path):
    torch.save(LeNet5().state_dict() | {"f7.weight": torch.zeros(1)}, path)


def a_whole_model(path):
    torch.save(LeNet5(), path)


def a_whole_model_before_torch_1_6(path):
    torch.save(LeNet5(), path, _use_new_zipfile_serialization=False)


def half_of_safetensors(path):
    safetensors(path, LeNet5().state_dict())
    path.write_bytes(path.read_bytes()[:5000])


def a_pickle(path):
    path.write_bytes(pickle.dumps(print))


def a_list(path):
    torch.save([torch.zeros(1)], path)


def nothing(path):
    torch.save({}, path)


def a_text(path):
    path.write_text("no weights")


def half(path):
    torch.save(LeNet5().state_dict(), path)
    path.write_bytes(path.read_bytes()[:5000])


WRONG = {
    of_another_network: ["LeNet5", "c1.weight is missing", "and 127 more", "--model.net"],
    of_other_sizes: ["c3.weight is (1, 2, 3, 4), not (16, 6, 5, 5)"],
    without_a_layer: ["f6.weight is missing; f6.bias is missing"],
    with_another_layer: ["f7.weight is not in the network"],
    a_whole_model: ["torch.save(net.state_dict(), path)", "nothing in it was executed"],
    a_whole_model_before_torch_1_6: ["torch.save(net.state_dict(), path)", "nothing in it was"],
    half_of_safetensors: ["weights.pth holds no weights, or is damaged"],
    a_pickle: ["weights.pth is not a checkpoint"],
    a_list: ["holds no weights with names", "torch.save(net.state_dict(), path)"],
    nothing: ["holds no weights with names"],
    a_text: ["weights.pth is not a checkpoint"],
    half: ["weights.pth is not a checkpoint"],
    lambda path: path.mkdir(): ["weights.pth is a folder"],
    lambda path: None: ["there is no checkpoint weights.pth"],
}


@pytest.mark.parametrize("make", WRONG)
def test_a_wrong_file_gets_one_line_and_nothing_is_written(quickstart, tmp_path, make):
    make(tmp_path / "weights.pth")
    ended = quickstart("--init_from", "weights.pth")
    assert_one_line(ended, WRONG[make])
    assert not (tmp_path / "run").exists()


def test_without_safetensors_the_package_is_named(quickstart, tmp_path, monkeypatch):
    safetensors(tmp_path / "weights.safetensors", LeNet5().state_dict())
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    ended = quickstart("--init_from", "weights.safetensors")
    assert_one_line(ended, ["weights.safetensors", "pip install safetensors"])
    assert not (tmp_path / "run").exists()
