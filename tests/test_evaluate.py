"""The behaviour of `evaluate.py`."""

import json

import pytest
import torch
from PIL import Image
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from datamodules import Digits
from evaluate import main
from inference.evaluation import compute_metrics
from inference.loading import load
from inference.logits import compute_logits
from tests.conftest import assert_one_line


def test_the_metrics_equal_those_of_the_run(run_script, digits_run, tmp_path):
    best = digits_run / "checkpoints" / "best.ckpt"
    ended = run_script(main, best, "--json", "metrics.json", "--figure", "confusion.png")
    assert (ended.status, ended.err) == (0, "")
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    results = json.loads((digits_run / "results.json").read_text())
    assert metrics["images"] == 360
    assert metrics["accuracy"] == pytest.approx(results["test_accuracy"], abs=1e-7)
    assert metrics["loss"] == pytest.approx(results["test_loss"], rel=1e-5)
    assert f"{metrics['accuracy']:.2%}" in ended.out
    assert max(map(len, ended.out.replace(str(best), "").splitlines())) <= 80
    with Image.open(tmp_path / "confusion.png") as picture:
        assert min(picture.size) > 600


def test_metrics_agree_with_scikit_learn(digits_run):
    classifier, data = load(digits_run / "checkpoints" / "best.ckpt")
    data.setup("test")
    images, labels = data.splits["test"]
    logits = compute_logits(classifier, data, images)
    logits[:40] = logits[:40].flip(1)  # a network with mistakes of every kind
    metrics = compute_metrics(logits, labels, data.classes, loss=0.0)
    predicted = logits.argmax(1)
    assert metrics["confusion_matrix"] == confusion_matrix(labels, predicted).tolist()
    columns = precision_recall_fscore_support(labels, predicted)
    for key, theirs in zip(("precision", "recall", "f1", "images"), columns, strict=True):
        ours = [of_class[key] for of_class in metrics["classes"].values()]
        assert ours == pytest.approx(theirs.tolist(), abs=1e-6)
    top_2 = (logits.topk(2).indices == labels[:, None]).any(1).double().mean().item()
    assert metrics["top_2_accuracy"] == pytest.approx(top_2)


def test_calibration_error_is_the_gap_between_confidence_and_accuracy():
    confident = torch.tensor([[0.9, 0.1]]).log().repeat(10, 1)
    labels = torch.tensor([0] * 6 + [1] * 4)  # 60 % right at 90 % confidence
    metrics = compute_metrics(confident, labels, ("a", "b"), loss=0.0)
    assert metrics["calibration_error"] == pytest.approx(0.3, abs=1e-6)


def test_it_needs_only_the_checkpoint(run_script, digits_run, tmp_path):
    alone = tmp_path / "elsewhere.ckpt"
    alone.write_bytes((digits_run / "checkpoints" / "best.ckpt").read_bytes())
    assert run_script(main, alone).status == 0


def test_another_dataset_can_be_named(run_script, digits_run, data_root):
    best = digits_run / "checkpoints" / "best.ckpt"
    ended = run_script(main, best, "--data", "MNIST", "--data.root", data_root)
    assert (ended.status, ended.err) == (0, "")
    assert "MNIST, 10,000 test images" in ended.out


def test_every_image_counts_once_whatever_the_batch(digits_run):
    classifier, _ = load(digits_run / "checkpoints" / "best.ckpt")
    images = torch.randint(0, 256, (71, 1, 8, 8), dtype=torch.uint8)
    for batch_size in (1, 70, 1000):
        data = Digits(image_size=28, batch_size=batch_size)
        logits = compute_logits(classifier, data, images)
        whole = compute_logits(classifier, Digits(image_size=28, batch_size=71), images)
        torch.testing.assert_close(logits, whole)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([], ["checkpoint", "--help"]),
        (["nowhere.ckpt"], ["nowhere.ckpt"]),
        (["{best}", "--data", "CIFAR"], ["CIFAR", "FashionMNIST"]),
        (["{best}", "--dta", "MNIST"], ["--dta", "--help"]),
        (["{best}", "--figure", "confusion.foo"], ["confusion.foo", ".png"]),
        (["{best}", "--json", "no/such/folder/file"], ["no/such/folder/file"]),
        (["{best}", "--data", "MNIST", "--data.root", "nowhere"], ["nowhere", "gz"]),
        (["{results}"], ["results.json", "not a checkpoint"]),
    ],
)
def test_a_wrong_use_gets_one_line(run_script, digits_run, monkeypatch, arguments, named):
    monkeypatch.setattr("datamodules.MNIST.mirrors", ["http://127.0.0.1:9/"])
    best, results = digits_run / "checkpoints" / "best.ckpt", digits_run / "results.json"
    words = [argument.format(best=best, results=results) for argument in arguments]
    ended = run_script(main, *words)
    assert_one_line(ended, named)
