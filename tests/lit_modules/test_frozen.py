"""Training a part of a network, compared with a plain PyTorch loop."""

import copy
import warnings
from functools import partial

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


def test_batch_norms_of_frozen_parts_always_stay_in_eval_mode():
    module = LitClassifier(Small(), trainable="second.*").train()
    assert module.net.second[1].training
    assert not module.net.first[1].training
    assert module.net.first.training  # a dropout in it would drop
    assert LitClassifier(Small()).train().net.first[1].training


def test_a_norm_without_parameters_belongs_to_what_is_around_it():
    net = nn.Sequential(
        nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2, affine=False)),
        nn.Sequential(nn.Conv2d(2, 2, 3), nn.BatchNorm2d(2, affine=False)),
    )
    module = LitClassifier(net, trainable="1.*")
    assert (net[0][1].training, net[1][1].training) == (False, True)
    module.net(torch.rand(4, 1, 8, 8))
    assert torch.equal(net[0][1].running_mean, torch.zeros(2))


def test_the_optimizer_has_only_the_trained_parameters():
    module = LitClassifier(Small(), trainable=["second.1.*", "fc.*"])
    groups = [list(map(id, group["params"])) for group in module.build_optimizer().param_groups]
    norm, fc = module.net.second[1], module.net.fc
    assert groups == [[id(fc.weight)], [id(norm.weight), id(norm.bias), id(fc.bias)]]


def test_a_run_trains_a_part_and_its_checkpoint_loads(train, run_script, tmp_path):
    ended = train(*QUICKLY, "--model.trainable", "[output.*, f6.*]", "--run_dir", "run")
    assert (ended.status, ended.err) == (0, "")
    net = LeNet5()
    number = sum(p.numel() for n, p in net.named_parameters() if n.startswith(("output", "f6")))
    assert f"({number:,} trained)" in ended.out
    assert "start   random weights, also where frozen: --init_from" in ended.out
    best = tmp_path / "run" / "checkpoints" / "best.ckpt"
    assert run_script(evaluate_script.main, best).status == 0


@pytest.mark.parametrize(
    ("pattern", "named"),
    [
        ("outptu.*", "outptu.* matches no parameter of LeNet5, which has output.*"),
        ("output", "output matches no parameter of LeNet5, which has output.*"),
        ("c5.0.weight", "which has c5.weight"),
        ("classifier.*", "which has c1.*, c3.*, c5.*, f6.*, output.*"),
        ("", "which has c1.*"),
        ("[c1.*, fc.*]", "trainable fc.* matches no parameter"),
        ("[]", "nothing to train"),
    ],
)
def test_a_pattern_without_a_parameter_gets_one_line(train, tmp_path, pattern, named):
    assert_one_line(train(*QUICKLY, "--model.trainable", pattern, "--run_dir", "run"), [named])
    assert not (tmp_path / "run").exists()


SMALL = ("--model.net", f"{__name__}.Small", "--run_dir", "run")


def states(path):
    """The first block, with its batch norm, and the rest of the network in a checkpoint."""
    content = torch.load(path, weights_only=True)["state_dict"]
    first = {n: values for n, values in content.items() if n.startswith("net.first")}
    return first, {n: values for n, values in content.items() if n not in first}


@pytest.mark.parametrize("averages", [False, True])
def test_a_frozen_part_does_not_change(train, tmp_path, averages):
    """Including its statistics, also in averaged weights."""
    torch.manual_seed(2)
    net = Small()
    net.first[1].running_mean += 1  # statistics other than the initial ones
    torch.save(net.state_dict(), tmp_path / "weights.pth")
    averaging = ["--trainer.callbacks+=callbacks.EMAWeightAveraging"] if averages else []
    asked = ("--init_from", "weights.pth", "--model.trainable", "[second.*, fc.*]")
    ended = train(*QUICKLY, *SMALL, *asked, *averaging)
    assert (ended.status, ended.err) == (0, "")
    first, rest = states(tmp_path / "run" / "checkpoints" / "last.ckpt")
    before = {f"net.{name}": values for name, values in net.state_dict().items()}
    assert len(first) == 7
    assert all(torch.equal(values, before[name]) for name, values in first.items())
    assert all(not torch.equal(values, before[name]) for name, values in rest.items())


def test_a_compiled_run_freezes_the_same(train, tmp_path, monkeypatch):
    torch.compiler.reset()
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    ends = []
    for compiled in ("true", "false"):
        asked = ("--model.trainable", "[second.*, fc.*]", "--model.compile", compiled)
        assert train(*QUICKLY, *SMALL[:-1], compiled, *asked).status == 0
        ends.append(states(tmp_path / compiled / "checkpoints" / "last.ckpt"))
    torch.compiler.reset()
    (first, rest), (same, others) = ends
    assert all(torch.equal(values, same[name]) for name, values in first.items())
    for name, values in rest.items():
        torch.testing.assert_close(values, others[name], rtol=1e-3, atol=1e-4)


def test_the_trained_parameters_belong_to_the_recipe(train):
    assert train(*QUICKLY, *SMALL, "--model.trainable", "fc.*").status == 0
    ended = train(*QUICKLY, *SMALL)
    assert_one_line(ended, ["was started with model.trainable fc.*, not None"])


def test_an_instance_norm_that_tracks_keeps_its_statistics_too():
    norm = nn.InstanceNorm2d(2, affine=True, track_running_stats=True)
    net = nn.Sequential(nn.Conv2d(1, 2, 3), norm)
    module = LitClassifier(net, trainable="0.*").train()
    assert (net[0].training, net[1].training) == (True, False)
    assert module.training
