"""Follows `docs/adding-a-network.md` with the files and commands of the page."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys

import pytest
import torch

from lit_modules import LitClassifier
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "adding-a-network.md").read_text()
FILES = re.findall(r"^`([\w/.]+)`:\n\n```\w+\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
COMMANDS = [shlex.split(line) for line in re.findall(r"^python .*$", PAGE, re.MULTILINE)]


@pytest.fixture
def copy(tmp_path):
    """A copy of the project with the files of the page in it."""
    leave_out = shutil.ignore_patterns(".*", "runs", "data", "build", "*.egg-info", "__pycache__")
    shutil.copytree(ROOT, tmp_path / "copy", ignore=leave_out)
    for name, content in FILES:
        assert not (tmp_path / "copy" / name).exists()
        (tmp_path / "copy" / name).write_text(content)
    return tmp_path / "copy"


def run(command, folder):
    return subprocess.run(
        [sys.executable, *command[1:]],
        cwd=folder,
        env=os.environ | {"PYTEST_ADDOPTS": "--numprocesses=0"},  # starts one process, not three
        capture_output=True,
        text=True,
        timeout=250,
    )


@pytest.mark.slow
def test_the_page_can_be_followed(copy):
    assert [name for name, _ in FILES] == ["models/allcnn.py", "configs/allcnn.yaml"]
    own = [command for command in COMMANDS if any("allcnn" in word for word in command)]
    assert [command[1] for command in own] == ["train.py", "train.py", "-m"]
    for command in own:
        ended = run(command, copy)
        assert ended.returncode == 0, ended.stdout + ended.stderr
    for number, width in ((1, 32), (2, 16)):
        results = json.loads((copy / "runs" / "allcnn" / str(number) / "results.json").read_text())
        assert results["net"] == "models.allcnn.AllCNN"
        assert results["test_accuracy"] > 0.8
        convs = 10 * width, 9 * width * (width + 6 * width) + 5 * width, 10 * 2 * width + 10
        assert results["parameters"] == sum(convs)
    assert "passed" in ended.stdout
    for check in (["ruff", "check", "--no-cache"], ["ruff", "format", "--no-cache", "--check"]):
        ended = run(["python", "-m", *check, "models/allcnn.py"], copy)
        assert ended.returncode == 0, ended.stdout


def test_a_network_of_torchvision_trains_from_the_command_line_alone(train, tmp_path):
    (command,) = [c for c in COMMANDS if "torchvision.models.resnet18" in c]
    config = command.index("configs/quickstart.yaml")
    arguments = [*command[2:config], ROOT / command[config], *command[config + 1 :]]
    ended = train(*arguments, "--trainer.limit_train_batches", "2", "--run_dir", "run")
    assert (ended.status, ended.err) == (0, "")
    path = tmp_path / "run" / "checkpoints" / "best.ckpt"
    state = torch.load(path, weights_only=True)["state_dict"]
    module = LitClassifier.load_from_checkpoint(path, weights_only=True)
    assert type(module.net).__module__ == "torchvision.models.resnet"
    assert torch.equal(module.net.fc.weight, state["net.fc.weight"])
