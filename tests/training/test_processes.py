"""Several processes train exactly the same network, and end together."""

import json
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from lightning.pytorch.plugins.environments import SLURMEnvironment
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util import tensor_util

from datamodules import Digits, Split
from tests.conftest import QUICKSTART, assert_one_line
from tests.running import ROOT, TORCHRUN, all_gone, free_port, run, train_quickly, train_together
from tests.training.test_survival import EMA, RECIPE, assert_same_end, callbacks, die

TWO = ("--trainer.accelerator", "cpu", "--trainer.devices", "2")


@pytest.mark.slow
def test_two_processes_survive_signals(tmp_path):
    """With batch normalisation, dropout, augmentation and averaged weights."""
    recipe = (*RECIPE, *callbacks(EMA), "--dashboard", "false")
    whole, other = train_together(2, *recipe, "--run_dir", "whole", cwd=tmp_path)
    assert (whole.status, whole.err, other) == (0, "", (0, "", ""))
    assert "2 x cpu" in whole.out
    pids = tmp_path / "pids"
    pids.mkdir()

    def by_lightning(*args, env):
        return train_quickly(*args, cwd=tmp_path, env=env)

    def by_torchrun(*args, env):
        launched = (*TORCHRUN, "--standalone", "--nproc_per_node", "2", ROOT / "train.py")
        return run(*launched, *args, cwd=tmp_path, env=env)

    for start, death in (
        (by_lightning, {"at": "writing", "epoch": 0, "signal": "SIGKILL"}),
        (by_lightning, {"at": "batch", "epoch": 1, "signal": "SIGTERM"}),
        (by_lightning, {"at": "batch", "epoch": 1, "signal": "SIGTERM", "rank": 1}),
        (by_lightning, {"at": "batch", "epoch": 1, "signal": "SIGTERM", "to": "group"}),
        (by_torchrun, {"at": "batch", "epoch": 1, "signal": "SIGTERM"}),
        (by_torchrun, {"at": "batch", "epoch": 2, "signal": "SIGTERM", "to": "parent"}),
    ):
        env = {"DEATH": json.dumps(death), "PIDS": str(pids)}
        killed = start(*recipe, *TWO, "--run_dir", "run", env=env)
        assert killed.status != 0
        assert all_gone(pids, within=60), (start, death)
    ended, _ = train_together(2, *recipe, "--run_dir", "run", cwd=tmp_path)
    assert ended.status == 0, ended.err
    assert "going on from last.ckpt" in ended.out
    assert_same_end(tmp_path / "run", tmp_path / "whole")


PART = """\
from torch import nn
from models.lenet import LeNet5
class Part(LeNet5):
    def __init__(self, num_classes=10):
        super().__init__(num_classes=num_classes)
        self.rest = nn.Linear(3, 3)
"""


@pytest.mark.slow
def test_parameters_left_out_of_the_loss_are_one_line(tmp_path):
    """And the strategy that this line names trains the network."""
    (tmp_path / "part.py").write_text(PART)
    args = (sys.executable, ROOT / "train.py", "--config", QUICKSTART, *TWO)
    args = (*args, "--model.net", "part.Part", "--trainer.max_epochs", "1")
    env = {"PYTHONPATH": str(tmp_path)}
    refused = run(*args, cwd=tmp_path, env=env)
    assert refused.status == 2
    (line,) = refused.err.splitlines()
    (strategy,) = re.findall(r"--trainer.strategy \w+", line)
    ended = run(*args, *strategy.split(), cwd=tmp_path, env=env)
    assert (ended.status, ended.err) == (0, "")


class OddDigits(Digits):
    """Splits that divide neither by 2 nor by 3."""

    def load(self, stage):
        lengths = {"train": 1225, "val": 175, "test": 355}
        splits = super().load(stage)
        return {
            name: Split(split.images[: lengths[name]], split.labels[: lengths[name]])
            for name, split in splits.items()
        }


def machine(rank, port, *args, cwd):
    """One of two machines that get torchrun's settings by variables, as in a PyTorchJob."""
    told = {
        **{"NNODES": "2", "NODE_RANK": str(rank), "NPROC_PER_NODE": "1"},
        **{"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)},
    }
    return run(
        *(*TORCHRUN, ROOT / "train.py", *args, "--trainer.num_nodes", 2, "--trainer.devices", 1),
        cwd=cwd,
        env={f"PET_{name}": value for name, value in told.items()},
    )


def last_weights(folder: Path):
    path = folder / "checkpoints" / "last.ckpt"
    return torch.load(path, weights_only=True)["state_dict"]


@pytest.mark.slow
def test_one_process_or_several_train_the_same_network(tmp_path):
    """One; three on one machine; and two on two machines without common files, killed once."""
    recipe = (
        *("--config", QUICKSTART, "--trainer.max_epochs", "2", "--trainer.accelerator", "cpu"),
        *("--data", "tests.training.test_processes.OddDigits", "--data.batch_size", "48"),
        *("--data.image_size", "28", *callbacks()),
    )
    one = train_quickly(*recipe, "--run_dir", "one", cwd=tmp_path)
    assert one.status == 0, one.err
    three = train_together(3, *recipe, "--run_dir", "three", cwd=tmp_path)
    assert three[0].status == 0, three[0].err
    machines = [tmp_path / "first", tmp_path / "second"]
    for folder in machines:
        folder.mkdir()
    recipe_of_two = (*recipe, "--run_dir", "two")
    death = die({"at": "batch", "epoch": 1})
    for killed in train_together(2, *recipe_of_two, cwd=machines, machines=2, env=death):
        assert killed.status != 0
    with ThreadPoolExecutor() as pool:
        port = free_port()
        started = [
            pool.submit(machine, rank, port, *recipe_of_two, cwd=machines[rank]) for rank in (0, 1)
        ]
    ended = [end.result() for end in started]
    for end in ended:
        assert end.status == 0, end.err
    assert "going on from last.ckpt" in ended[0].out
    assert ended[1].out == ""
    assert not (machines[1] / "two").exists()
    results = json.loads((tmp_path / "one" / "results.json").read_text())
    weights = last_weights(tmp_path / "one")
    for folder, processes in ((tmp_path / "three", 3), (machines[0] / "two", 2)):
        torch.testing.assert_close(last_weights(folder), weights, rtol=1e-4, atol=1e-5)
        theirs = json.loads((folder / "results.json").read_text())
        assert theirs["world_size"] == processes
        assert theirs["test_accuracy"] == results["test_accuracy"]
        assert theirs["val_accuracy"] == results["val_accuracy"]
        assert theirs["test_loss"] == pytest.approx(results["test_loss"], rel=1e-5)
        assert precision_recall(folder) == precision_recall(tmp_path / "one")


def precision_recall(run: Path):
    """The dashboard's counts on the test set, summed over all processes."""
    events = EventAccumulator(str(run))
    events.Reload()
    name = next(tag for tag in events.Tags()["tensors"] if tag == "test/3")
    counts = tensor_util.make_ndarray(events.Tensors(name)[-1].tensor_proto)[:4].round()
    assert counts[:, 0].sum() == 355
    return counts[:, ::10].tolist()


@pytest.mark.slow
@pytest.mark.parametrize("config", ["googlenet", "resnet18"])
def test_auxiliary_heads_and_batch_normalisation_train_on_two_processes(tmp_path, config):
    ended, other = train_together(
        *(2, "--config", ROOT / "configs" / f"{config}.yaml", "--data", "datamodules.Digits"),
        *("--data.image_size", "32", "--data.batch_size", "8", "--trainer.max_epochs", "1"),
        *("--trainer.limit_train_batches", "2", "--trainer.limit_val_batches", "2"),
        *("--trainer.limit_test_batches", "2", "--run_dir", "run", "--data.augment", "[]"),
        *("--dashboard", "false"),
        cwd=tmp_path,
    )
    assert (ended.status, ended.err, other) == (0, "", (0, "", ""))


@pytest.fixture
def torchrun_environment(monkeypatch):
    """The environment of two processes under torchrun."""
    for name, value in {
        **{"RANK": "0", "LOCAL_RANK": "0", "GROUP_RANK": "0", "WORLD_SIZE": "2"},
        **{"LOCAL_WORLD_SIZE": "2", "TORCHELASTIC_RUN_ID": "none", "MASTER_ADDR": "127.0.0.1"},
        **{"MASTER_PORT": "9", "TORCHELASTIC_USE_AGENT_STORE": "True"},
    }.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ((), ["devices=1", "world size (2)", "docs/scaling.md"]),
        (("--trainer.devices", "4"), ["devices=4", "world size (2)"]),
        (("--trainer.devices", "2", "--data.batch_size", "63"), ["batch_size 63", "number, 2"]),
        (
            ("--trainer.devices", "2", "--trainer.accumulate_grad_batches", "3"),
            ["batch_size 64", "number, 2 times trainer.accumulate_grad_batches, 3"],
        ),
    ],
)
def test_a_wrong_number_of_processes_gets_one_line(
    quickstart, torchrun_environment, options, named
):
    ended = quickstart("--trainer.accelerator", "cpu", *options)
    assert_refused(ended, named)


def test_processes_of_torchrun_need_a_named_folder(train, torchrun_environment):
    ended = train("--config", QUICKSTART, *TWO)
    assert_refused(ended, ["--run_dir", "torchrun"])


def test_several_machines_need_a_launcher(quickstart):
    ended = quickstart("--trainer.accelerator", "cpu", "--trainer.num_nodes", "2")
    assert_refused(ended, ["num_nodes 2", "torchrun", "docs/scaling.md"])


def test_too_many_slurm_tasks_get_one_line(quickstart, monkeypatch):
    for name, value in {
        **{"SLURM_NTASKS": "4", "SLURM_NTASKS_PER_NODE": "4", "SLURM_JOB_NAME": "train"},
        **{"SLURM_NNODES": "1", "SLURM_LOCALID": "0", "SLURM_PROCID": "0", "SLURM_NODEID": "0"},
        **{"SLURM_JOB_ID": "1", "SLURM_NODELIST": "node1"},
    }.items():
        monkeypatch.setenv(name, value)
    assert SLURMEnvironment.detect()
    ended = quickstart("--trainer.accelerator", "cpu", "--trainer.devices", "2")
    assert_refused(ended, ["devices=2", "--ntasks-per-node=4"])


def assert_refused(ended, named):
    assert_one_line(ended, named)
    assert not Path("run").exists()
    assert not Path("runs").exists()
