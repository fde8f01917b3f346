"""A loss, class weights and metrics of the user's own, against plain loops and scikit-learn."""

import copy
from functools import partial

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, Trainer
from sklearn.metrics import cohen_kappa_score, f1_score, roc_auc_score
from sklearn.utils.class_weight import compute_class_weight
from torch import nn
from torch.nn import functional as F
from torchmetrics.classification import (
    MulticlassAUROC,
    MulticlassCohenKappa,
    MulticlassConfusionMatrix,
    MulticlassF1Score,
)
from torchvision.transforms import v2

from datamodules import Digits, Split
from lit_modules import LitClassifier, LitGoogLeNet


class Unbalanced(Digits):
    """Digits of which the higher ones are rarer, and 7 images at the end of an epoch."""

    def load(self, stage):
        splits = super().load(stage)
        for name, split in splits.items():
            rank = torch.zeros_like(split.labels)
            for label in range(10):
                rank[split.labels == label] = torch.arange(int((split.labels == label).sum()))
            splits[name] = split.take(rank < (40 - 4 * split.labels))
        return splits


def linear() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))


def sgd(parameters):
    return torch.optim.SGD(parameters, lr=0.5)


def fit(module, data, **options) -> Trainer:
    trainer = Trainer(
        **{"max_epochs": 2, "accelerator": "cpu", "logger": False, "enable_checkpointing": False},
        **{"enable_progress_bar": False, "enable_model_summary": False},
        **options,
    )
    trainer.fit(module, data)
    return trainer


def plain_loop(net, data, loss) -> nn.Module:
    """Two epochs without Lightning."""
    optimizer = sgd(net.parameters())
    loader = data.train_dataloader()
    for epoch in range(2):
        loader.sampler.set_epoch(epoch)
        for images, labels in loader:
            optimizer.zero_grad()
            loss(net(data.preprocess_images(images, is_training=False)), labels).backward()
            optimizer.step()
    return net


def weighted(weights, smoothing=0.0):
    """The mean over the samples of weight x cross-entropy, with the weights spelt out."""

    def loss(logits, labels):
        target = F.one_hot(labels, 10) * (1 - smoothing) + smoothing / 10
        return -(weights * target * logits.log_softmax(1)).sum(1).mean()

    return loss


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("accumulated", [1, 4])
def test_class_weights_train_as_in_a_plain_loop(smoothing, accumulated):
    net, data = linear(), Unbalanced(batch_size=50, image_size=8)
    reference = copy.deepcopy(net)
    module = LitClassifier(net, optimizer=sgd, class_weights="balanced", label_smoothing=smoothing)
    fit(module, data, accumulate_grad_batches=accumulated)
    data.trainer = None
    labels = data.splits["train"].labels.numpy()
    by_sklearn = compute_class_weight("balanced", classes=np.arange(10), y=labels)
    weights = torch.tensor(by_sklearn, dtype=torch.float32)
    assert weights.max() > 5 * weights.min()
    torch.testing.assert_close(module.class_weights, weights)
    plain_loop(reference, data, weighted(weights, smoothing))
    torch.testing.assert_close(net.state_dict(), reference.state_dict(), rtol=1e-4, atol=1e-5)


def test_class_weights_are_of_the_training_alone():
    module = LitClassifier(linear(), class_weights=[float(i) for i in range(10)])
    logits, labels = torch.randn(6, 10), torch.tensor([0, 3, 9, 9, 1, 2])
    expected = weighted(torch.arange(10.0))(logits, labels)
    torch.testing.assert_close(module.train().loss(logits, labels), expected)
    probabilities = F.one_hot(labels, 10).float()
    torch.testing.assert_close(module.loss(logits, probabilities), expected)
    torch.testing.assert_close(module.eval().loss(logits, labels), F.cross_entropy(logits, labels))
    assert "class_weights" not in module.state_dict()
    for dtype in (torch.bfloat16, torch.float64):
        assert module.train().loss(logits.to(dtype), labels).isfinite()


def test_a_class_without_an_image_weighs_nothing():
    data = Digits()
    data.splits["train"] = Split(torch.zeros(4, 1, 8, 8), torch.tensor([0, 0, 2, 2]))
    module = LitClassifier(linear(), class_weights="balanced")
    module._trainer = type("Fitting", (), {"precision": "32-true", "datamodule": data})()
    module.setup("fit")
    assert module.class_weights.tolist() == [1, 0, 1] + [0] * 7


@pytest.mark.parametrize(
    "criterion", [nn.MultiMarginLoss(), nn.CrossEntropyLoss(label_smoothing=0.2)]
)
def test_a_loss_of_ones_own_trains_as_in_a_plain_loop(criterion):
    net, data = linear(), Digits(batch_size=100, image_size=8)
    reference = copy.deepcopy(net)
    trainer = fit(LitClassifier(net, optimizer=sgd, loss=criterion), data)
    data.trainer = None
    plain_loop(reference, data, criterion)
    torch.testing.assert_close(net.state_dict(), reference.state_dict(), rtol=1e-4, atol=1e-5)
    images, labels = data.splits["val"]
    logits = reference(data.preprocess_images(images, is_training=False))
    assert trainer.callback_metrics["val/loss"].item() == pytest.approx(
        criterion(logits, labels).item(), rel=1e-4
    )


class Scaled(nn.Module):
    """A cross-entropy with a temperature that is learnt."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, logits, labels):
        return F.cross_entropy(logits * self.scale, labels)


def test_the_parameters_of_a_loss_are_trained_and_kept(tmp_path):
    module = LitClassifier(linear(), optimizer=sgd, loss=Scaled())
    trainer = fit(module, Digits(batch_size=100, image_size=8))
    assert module.criterion.scale.item() != 1
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    loaded = LitClassifier.load_from_checkpoint(tmp_path / "a.ckpt", net=linear(), loss=Scaled())
    assert torch.equal(loaded.criterion.scale, module.criterion.scale.detach())


class Heads(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = linear()

    def forward(self, images):
        return (self.net(images), 2 * self.net(images)) if self.training else self.net(images)


def test_the_auxiliary_loss_is_of_the_same_kind():
    module = LitGoogLeNet(Heads(), aux_weight=0.3, loss=nn.MultiMarginLoss())
    logits, labels = torch.randn(4, 10), torch.tensor([0, 1, 2, 3])
    expected = F.multi_margin_loss(logits, labels) + 0.3 * F.multi_margin_loss(2 * logits, labels)
    torch.testing.assert_close(module.train().loss((logits, 2 * logits), labels), expected)


def test_the_training_accuracy_of_mixed_labels_is_of_the_larger_share():
    module = LitClassifier(linear())
    labels = torch.tensor([[0.3, 0.7], [0.6, 0.4], [0.9, 0.1]])
    logits = torch.tensor([[0.0, 1.0], [0.0, 1.0], [1.0, 0.0]])
    module._update("train", torch.tensor(1.0), logits, labels)
    assert module.metrics["train/acc"].compute().item() == pytest.approx(2 / 3)


def test_mixed_batches_train():
    module = LitClassifier(linear(), optimizer=sgd, label_smoothing=0.1)
    data = Digits(batch_size=50, image_size=8, mix=v2.MixUp(alpha=0.2))
    metrics = fit(module, data).callback_metrics
    assert metrics["val/acc"] > 0.8
    assert metrics["train/loss"] > metrics["val/loss"]


METRICS = [MulticlassF1Score, MulticlassAUROC, partial(MulticlassF1Score, average="weighted")]


class Small(nn.Module):
    """Logits from 0 to 1, which torchmetrics would take for probabilities."""

    def __init__(self):
        super().__init__()
        self.net = linear()

    def forward(self, images):
        return self.net(images).sigmoid()


@pytest.mark.parametrize("split", ["val", "test"])
def test_metrics_are_those_of_scikit_learn(split):
    module = LitClassifier(Small(), optimizer=sgd, metrics=[*METRICS, MulticlassCohenKappa(10)])
    data = Digits(batch_size=70, image_size=8)
    trainer = fit(module, data, callbacks=[validated := Validated()])
    if split == "test":
        trainer.test(module, data, verbose=False)
    images, labels = data.splits[split]
    with torch.no_grad():
        logits = module.eval()(data.preprocess_images(images, is_training=False))
    guesses, truth = logits.argmax(1).numpy(), labels.numpy()
    expected = {
        "f1_score": f1_score(truth, guesses, average="macro"),
        "auroc": roc_auc_score(truth, logits.double().softmax(1).numpy(), multi_class="ovr"),
        "f1_score_2": f1_score(truth, guesses, average="weighted"),
        "cohen_kappa": cohen_kappa_score(truth, guesses),
    }
    for name, value in expected.items():
        measured = trainer.callback_metrics[f"{split}/{name}"].item()
        assert measured == pytest.approx(value, abs=1e-5), name
        assert f"train/{name}" not in trainer.callback_metrics
    assert all(len(names) == 6 for names in validated.names)


class Validated(Callback):
    """The names of what each validation has measured."""

    def __init__(self):
        self.names = []

    def on_validation_end(self, trainer, pl_module):
        self.names.append({n for n in trainer.callback_metrics if n.startswith("val/")})


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"loss": nn.MultiMarginLoss(), "label_smoothing": 0.1}, "MultiMarginLoss"),
        ({"loss": nn.MultiMarginLoss(), "class_weights": "balanced"}, "MultiMarginLoss"),
        ({"class_weights": [1.0, 2.0]}, "10 numbers"),
        ({"class_weights": [1.0] * 9 + [-1.0]}, "at least 0"),
        ({"class_weights": [1.0] * 9 + [float("nan")]}, "at least 0"),
        ({"metrics": [lambda number: nn.Linear(1, 1)]}, "number of classes"),
        ({"metrics": [partial(MulticlassF1Score, average=None)]}, "one number"),
        ({"metrics": [MulticlassConfusionMatrix]}, "one number"),
        ({"metrics": [MulticlassF1Score(4)]}, "number of classes"),
    ],
)
def test_what_does_not_fit_is_refused_at_once(options, named):
    with pytest.raises(ValueError, match=named):
        LitClassifier(linear(), **options)


def test_balanced_weights_without_counts_are_refused():
    module = LitClassifier(linear(), class_weights="balanced")
    loader = [(torch.zeros(2, 1, 8, 8), torch.zeros(2, dtype=torch.int64))]
    with pytest.raises(ValueError, match="class_counts"):
        fit(module, loader)
