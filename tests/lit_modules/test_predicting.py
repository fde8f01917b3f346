"""`Trainer.predict` from Python, against a plain loop and against `evaluate.py`."""

import copy
import json

import pytest
import torch
from lightning.pytorch import Trainer
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import evaluate as evaluate_script
from datamodules import Digits
from inference.evaluation import answer_test_set
from lit_modules import LitClassifier
from models.lenet import LeNet5

QUIET = {
    **{"accelerator": "cpu", "devices": 1, "logger": False, "enable_checkpointing": False},
    **{"enable_progress_bar": False, "enable_model_summary": False},
}


@pytest.fixture(scope="module")
def of_digits():
    """The test images of `Digits`, preprocessed here, and their labels."""
    data = Digits()
    data.setup("test")
    images, labels = data.splits["test"]
    whole = {bytes(of.astype("uint8")): label for of, label in zip(*_digits(), strict=True)}
    levels = (images * (16 / 255)).round().byte().flatten(1).numpy()
    assert [whole[bytes(of)] for of in levels] == labels.tolist()
    images = (images / 255 - Digits.mean) / Digits.std
    return F.interpolate(images, (28, 28), mode="bilinear"), labels


def _digits():
    data = load_digits()
    return data.data, data.target


def plain_logits(net, images):
    """One batch after the other through a copy of the network that Lightning has not touched."""
    net = copy.deepcopy(net).float().eval()
    with torch.no_grad():
        return torch.cat([net(batch) for batch in images.split(100)])


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "bf16-true", "64-true"])
def test_the_logits_are_those_of_a_plain_loop_in_any_precision(of_digits, precision):
    """Of a network with batch norms, that was left in training mode."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 5, 4), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 10))
    module, data = LitClassifier(net), Digits(batch_size=100, image_size=28)
    trainer = Trainer(max_epochs=1, limit_train_batches=3, precision=precision, **QUIET)
    trainer.fit(module, data)
    module.train()
    parts = trainer.predict(module, data)
    assert [part.shape for part in parts] == [(100, 10)] * 2 + [(80, 10)] * 2
    found = torch.cat(parts)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, plain_logits(module.net, of_digits[0]), atol=1e-4, rtol=1e-4)
    theirs, _, loss = answer_test_set(module.eval(), data)
    assert torch.equal(found, theirs)
    (tested,) = trainer.test(module, data, verbose=False)
    assert tested["test/loss"] == pytest.approx(loss)
    assert tested["test/acc"] == pytest.approx(
        (found.argmax(1) == of_digits[1]).float().mean().item()
    )


@pytest.mark.parametrize("given", ["pairs", "images", "tuples of one"])
@pytest.mark.parametrize("precision", ["32-true", "bf16-true", "64-true"])
def test_any_dataloader_of_preprocessed_images(of_digits, given, precision):
    torch.manual_seed(0)
    module, (images, labels) = LitClassifier(LeNet5("tanh")), of_digits
    plain = copy.deepcopy(module.net)
    dataset = {
        "pairs": TensorDataset(images, labels),
        "images": images,
        "tuples of one": TensorDataset(images),
    }[given]
    trainer = Trainer(precision=precision, **QUIET)
    found = torch.cat(trainer.predict(module, DataLoader(dataset, 70)))
    tolerance = 0.05 if precision == "bf16-true" else 1e-5  # of weights and images rounded before
    torch.testing.assert_close(found, plain_logits(plain, images), atol=tolerance, rtol=tolerance)


def test_ones_own_images_are_preprocessed_by_the_data_module(of_digits):
    """Also after a training, of which nothing is left in the Trainer."""
    module, data = LitClassifier(LeNet5("tanh")), Digits(batch_size=100, image_size=28)
    trainer = Trainer(max_epochs=1, **QUIET)
    trainer.fit(module, data)
    expected = torch.cat(trainer.predict(module, data))
    images = data.splits["test"].images
    ours = DataLoader(data.preprocess_images(images, is_training=False), 100)
    torch.testing.assert_close(torch.cat(trainer.predict(module, ours)), expected)
    for ask in (trainer.predict, trainer.test):
        with pytest.raises(TypeError, match=r"the images are uint8.*preprocess_images"):
            ask(module, DataLoader(TensorDataset(images, data.splits["test"].labels), 100))


def test_a_checkpoint_that_is_loaded_gives_the_figures_of_evaluate(
    digits_run, run_script, of_digits, tmp_path
):
    path = digits_run / "checkpoints" / "best.ckpt"
    ended = run_script(evaluate_script.main, path, "--json", "figures.json")
    assert (ended.status, ended.err) == (0, "")
    figures = json.loads((tmp_path / "figures.json").read_text())
    module = LitClassifier.load_from_checkpoint(path)
    logits = torch.cat(Trainer(**QUIET).predict(module, Digits(image_size=28)))
    right = (logits.argmax(1) == of_digits[1]).double().mean().item()
    assert right == figures["accuracy"] > 0.9
    loss = F.cross_entropy(logits, of_digits[1]).item()
    assert loss == pytest.approx(figures["loss"], rel=1e-6)
    torch.testing.assert_close(logits, plain_logits(module.net, of_digits[0]), atol=1e-4, rtol=1e-4)


def test_a_share_without_images_is_empty():
    assert LitClassifier(LeNet5()).predict_step(torch.zeros(0, 1, 28, 28), 0).shape == (0, 10)
