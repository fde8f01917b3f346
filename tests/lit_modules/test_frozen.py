"""Training a part of a network, against a plain loop of torch."""

import copy
import warnings

import pytest
import torch
from lightning.pytorch import Trainer, seed_everything
from torch import nn
from torch.nn import functional as F

import evaluate as evaluate_script
from datamodules import Digits
from lit_modules import LitClassifier
from models.lenet import LeNet5
from tests.conftest import QUICKLY, assert_one_line


class Small(nn.Module):
    """Two blocks with batch norms and dropout, and a classifier."""

    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6), nn.ReLU())
        self.fc = nn.Linear(6, 10)

    def forward(self, images):
        return self.fc(self.second(self.first(images)).mean((2, 3)))


def sgd(parameters):
    return torch.optim.SGD(parameters, lr=0.1)


@pytest.mark.parametrize("trainable", ["fc.*", ["second.*", "fc.weight"]])
def test_the_same_weights_as_a_plain_loop(trainable):
    seed_everything(3)
    net = Small()
    reference, before = copy.deepcopy(net), copy.deepcopy(net.state_dict())
    data = Digits(batch_size=200)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        Trainer(
            **{"max_epochs": 2, "accelerator": "cpu", "logger": False},
            **{"enable_checkpointing": False, "enable_progress_bar": False},
            enable_model_summary=False,
        ).fit(LitClassifier(net, optimizer=sgd, trainable=trainable), data)

    is_second = trainable != "fc.*"
    trained = [reference.fc.weight] if is_second else list(reference.fc.parameters())
    trained += reference.second.parameters() if is_second else []
    optimizer = sgd(trained)
    loader = data.train_dataloader()
    for epoch in range(2):
        loader.sampler.set_epoch(epoch)
        for images, labels in loader:
            reference.train()
            reference.first[1].eval()
            if not is_second:
                reference.second[1].eval()
            optimizer.zero_grad()
            F.cross_entropy(reference(data.preprocessing(images / 255)), labels).backward()
            optimizer.step()
    for name, values in reference.state_dict().items():
        assert torch.allclose(net.state_dict()[name].float(), values.float(), atol=1e-4), name
        is_frozen = name.startswith("first") or (not is_second and name.startswith("second"))
        assert torch.equal(values, before[name]) == (is_frozen or (name == "fc.bias" and is_second))


def test_batch_norms_of_frozen_parts_stay_in_eval_mode_whoever_asks():
    module = LitClassifier(Small(), trainable="second.*").train()
    assert module.net.second[1].training
    assert not module.net.first[1].training
    assert module.net.first.training  # a dropout in it would drop
    assert LitClassifier(Small()).train().net.first[1].training


def test_a_run_trains_a_part_and_its_checkpoint_is_read(train, run_script, tmp_path):
    ended = train(*QUICKLY, "--model.trainable", "[output.*, f6.*]", "--run_dir", "run")
    assert (ended.status, ended.err) == (0, "")
    net = LeNet5()
    number = sum(p.numel() for n, p in net.named_parameters() if n.startswith(("output", "f6")))
    assert f"({number:,} trained)" in ended.out
    best = tmp_path / "run" / "checkpoints" / "best.ckpt"
    assert run_script(evaluate_script.main, best).status == 0


def test_a_pattern_without_a_parameter_gets_one_line(train):
    ended = train(*QUICKLY, "--model.trainable", "outptu.*")
    assert_one_line(ended, ["outptu.*", "LeNet5", "f6.*, output.*"])
