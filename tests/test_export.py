"""The behaviour of `export.py`."""

import json

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from datamodules import Digits
from export import main
from inference.loading import load
from inference.logits import compute_logits
from inference.onnx import export_onnx
from lit_modules import LitClassifier, LitGoogLeNet
from models import alexnet, densenet, googlenet, nin, resnet, vgg
from models.lenet import LeNet5
from terminal.errors import UserError
from tests.conftest import assert_one_line

NETWORKS = {  # one per family, at a valid size other than the dataset's
    "AlexNet": (alexnet.AlexNet, 67),
    "VGG": (vgg.vgg11, 32),
    "NiN": (nin.NiN, 67),
    "GoogLeNet": (googlenet.GoogLeNet, 32),
    "ResNet": (resnet.resnet18, 32),
    "DenseNet": (densenet.DenseNet, 32),
}


def answers(path, images):
    session = onnxruntime.InferenceSession(path)
    return session.run(None, {"images": images.numpy()})[0]


def test_the_file_takes_raw_images(run_script, digits_run, tmp_path):
    best = digits_run / "checkpoints" / "best.ckpt"
    ended = run_script(main, best, "--out", "digits.onnx")
    assert (ended.status, ended.err) == (0, "")
    classifier, data = load(best)
    data.setup("test")
    images, labels = data.splits["test"]
    probabilities = answers(tmp_path / "digits.onnx", images)
    expected = compute_logits(classifier, data, images).softmax(1).numpy()
    np.testing.assert_allclose(probabilities, expected, atol=1e-5)
    results = json.loads((digits_run / "results.json").read_text())
    accuracy = (probabilities.argmax(1) == labels.numpy()).mean()
    assert accuracy == pytest.approx(results["test_accuracy"], abs=1e-6)
    assert answers(tmp_path / "digits.onnx", images[:1]).shape == (1, 10)
    metadata = {item.key: item.value for item in onnx.load(tmp_path / "digits.onnx").metadata_props}
    assert json.loads(metadata["classes"]) == list("0123456789")
    assert metadata["dataset"] == "Digits"
    assert json.loads(metadata["test_accuracy"]) == results["test_accuracy"]
    assert json.loads(metadata["val_accuracy"]) == results["val_accuracy"]
    assert metadata["commit"]


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_every_family_can_be_exported(tmp_path, name):
    make, image_size = NETWORKS[name]
    torch.manual_seed(0)
    data = Digits(image_size=image_size)
    data.setup("test")
    wrapper = LitGoogLeNet if name == "GoogLeNet" else LitClassifier
    difference = export_onnx(wrapper(make()).eval(), data, tmp_path / "net.onnx", {})
    assert difference < 1e-4
    images = data.splits["test"].images[:3]
    np.testing.assert_allclose(answers(tmp_path / "net.onnx", images).sum(1), 1, atol=1e-5)


def test_a_file_that_differs_is_not_written(digits_run, tmp_path, monkeypatch):
    classifier, data = load(digits_run / "checkpoints" / "best.ckpt")
    data.setup("test")
    monkeypatch.setattr("inference.onnx.compute_logits", lambda *args: compute_logits(*args) * 1.01)
    with pytest.raises(UserError, match="differs from PyTorch"):
        export_onnx(classifier, data, tmp_path / "net.onnx", {})
    assert not list(tmp_path.iterdir())


class Branches(LeNet5):
    def forward(self, images):
        return super().forward(images if images.mean() > 0 else -images)


class FallsBackToNumpy(LeNet5):
    def forward(self, images):
        return super().forward(images + torch.from_numpy(np.sort(images.detach().numpy())))


@pytest.mark.parametrize("net", [Branches, FallsBackToNumpy])
def test_a_network_without_one_graph_gets_one_line(run_script, quickstart, tmp_path, net):
    recipe = ("--model.net", f"{__name__}.{net.__name__}", "--trainer.limit_train_batches", 1)
    assert quickstart(*recipe).status == 0
    best = tmp_path / "run" / "checkpoints" / "best.ckpt"
    ended = run_script(main, best, "--trust_classes", "--out", "net.onnx")
    assert_one_line(ended, ["cannot be exported", "`if`"])
    assert ended.out == ""
    assert not (tmp_path / "net.onnx").exists()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([], ["checkpoint", "--help"]),
        (["nowhere.ckpt"], ["nowhere.ckpt"]),
        (["{best}", "--out", "no/such/folder/net.onnx"], ["no/such/folder"]),
    ],
)
def test_a_wrong_use_gets_one_line(run_script, digits_run, tmp_path, arguments, named):
    best = digits_run / "checkpoints" / "best.ckpt"
    ended = run_script(main, *(argument.format(best=best) for argument in arguments))
    assert_one_line(ended, named)
    assert not list(tmp_path.iterdir())
