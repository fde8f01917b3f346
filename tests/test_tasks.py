"""`make` and tasks.py: what they install, where, and the commands that they start."""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.conftest import ROOT

PINNED = (ROOT / "constraints.txt").read_text().split()
# Stands in for the Python of an environment: writes down its arguments, and answers `pip list`.
PYTHON = """#!/bin/sh
echo "$(pwd): $*" >> "{log}"
case "$*" in
    *"pip list"*) printf '{listed}' ;;
    *"pip install"*) for last; do :; done; cp "$last" "{log}.pinned"; exit {status} ;;
esac
"""


class Environment:
    """A virtual environment whose Python only writes down what it is asked to do."""

    def __init__(self, path, listed="", status=0):
        self.path, self.log = path, path / "log.txt"
        (path / "bin").mkdir(parents=True)
        python = path / "bin" / "python"
        python.write_text(PYTHON.format(log=self.log, listed=listed, status=status))
        python.chmod(0o755)

    def commands(self):
        """What was asked since the last call, without the paths of this environment."""
        text = self.log.read_text().replace(f"{self.path}/", "") if self.log.exists() else ""
        self.log.unlink(missing_ok=True)
        return [line.partition(": ")[2] for line in text.splitlines()]

    @property
    def pinned(self):
        return Path(f"{self.log}.pinned").read_text(encoding="utf-8").split()


@pytest.fixture
def clone(tmp_path):
    """A copy of the files that count, in whose folder nothing else is made."""
    folder = tmp_path / "clone"
    folder.mkdir()
    for name in ("tasks.py", "Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, folder / name)
    return folder


def call(*words, cwd, **env):
    kept = {key: value for key, value in os.environ.items() if key not in ("VENV", "MAKEFLAGS")}
    return subprocess.run(
        [*map(str, words)], cwd=cwd, env=kept | env, capture_output=True, text=True
    )


def tasks(clone, *words, cwd=None, **env):
    return call(sys.executable, clone / "tasks.py", *words, cwd=cwd or clone, **env)


LIST = "-m pip list --format=freeze"
INSTALL = "-m pip install --editable {} --constraint constraints.txt"


def test_training_installs_once_what_it_needs_and_no_more(clone, tmp_path):
    of = Environment(tmp_path / "venv")
    trained = "train.py --config configs/quickstart.yaml"
    for expected in ([LIST, INSTALL.format("."), trained], [trained]):
        ended = tasks(clone, "train", VENV=str(of.path))
        assert (ended.returncode, ended.stderr) == (0, "")
        assert of.commands() == expected
    assert of.pinned == PINNED
    tasks(clone, "train", "--config", "a b.yaml", "--data.image_size", "96", VENV=str(of.path))
    assert of.commands() == ["train.py --config a b.yaml --data.image_size 96"]


def test_testing_adds_what_it_needs(clone, tmp_path):
    of = Environment(tmp_path / "venv")
    checks = [
        *("-m ruff check .", "-m ruff format --check .", "-m tools.stage_tables --check"),
        *("-m tools.results_table --check", "-m tools.rooms --check", "-m pytest -k lenet"),
    ]
    tasks(clone, "train", VENV=str(of.path))
    of.commands()
    for expected in ([LIST, INSTALL.format(".[dev]"), *checks], checks):
        assert tasks(clone, "test", "-k", "lenet", VENV=str(of.path)).returncode == 0
        assert of.commands() == expected
    tasks(clone, "train", VENV=str(of.path))
    assert len(of.commands()) == 1  # all that training needs is there


def test_changed_requirements_are_installed(clone, tmp_path):
    of = Environment(tmp_path / "venv")
    tasks(clone, "train", VENV=str(of.path))
    for name in ("pyproject.toml", "constraints.txt"):
        of.commands()
        with open(clone / name, "a", encoding="utf-8") as file:
            file.write("# changed\n")
        tasks(clone, "train", VENV=str(of.path))
        assert INSTALL.format(".") in of.commands()


def test_a_failed_installation_is_tried_again(clone, tmp_path):
    of = Environment(tmp_path / "venv", status=7)
    for _ in range(2):
        assert tasks(clone, "train", VENV=str(of.path)).returncode == 7
        assert of.commands() == [LIST, INSTALL.format(".")]


def test_a_torch_that_is_there_is_kept(clone, tmp_path):
    listed = r"numpy==1.0\ntorch==2.12.0+cpu\ntorchmetrics==1.0\ntorchvision==0.27.0+cpu\n"
    of = Environment(tmp_path / "venv", listed=listed)
    assert tasks(clone, "train", VENV=str(of.path)).returncode == 0
    names = {line.partition("==")[0]: line for line in of.pinned}
    assert names["torch"] == "torch==2.12.0+cpu"
    assert names["torchvision"] == "torchvision==0.27.0+cpu"
    left_out = {line.partition("==")[0] for line in PINNED} - names.keys()
    assert {"triton", "nvidia-cudnn-cu13", "cuda-toolkit"} <= left_out  # of another torch
    assert all(name.startswith(("triton", "nvidia-", "cuda-")) for name in left_out)
    assert {names["numpy"], names["torchmetrics"]} <= set(PINNED)  # as for anybody else


def test_the_active_environment_is_used(clone, tmp_path):
    """That of the Python that runs tasks.py, which knows it by pyvenv.cfg."""
    of = Environment(tmp_path / "active")
    (of.path / "pyvenv.cfg").write_text(f"home = {Path(sys.base_prefix) / 'bin'}\n")
    active = of.path / "bin" / "python-of-the-environment"
    active.symlink_to(Path(sys.executable).resolve())
    assert call(active, clone / "tasks.py", "train", cwd=tmp_path).returncode == 0
    assert of.commands()[-1] == "train.py --config configs/quickstart.yaml"
    assert not (clone / ".venv").exists()


@pytest.mark.slow
def test_without_an_environment_one_is_made(clone):
    base = Path(sys.executable).resolve()
    ended = call(base, clone / "tasks.py", "train", cwd=clone, PIP_NO_INDEX="1")
    assert ended.returncode == 1  # nothing can be installed without an index
    assert (clone / ".venv" / "bin" / "pip").exists()
    assert not (clone / ".venv" / "installed").exists()


def test_make_calls_it(clone, tmp_path):
    if not shutil.which("make"):
        pytest.skip("there is no make")
    of = Environment(tmp_path / "venv")
    make = ("make", f"PYTHON={sys.executable}", f"VENV={of.path}")
    ended = call(*make, "train", "CONFIG=c.yaml", "ARGS=--data.root 'a b'", cwd=clone)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert of.commands()[-1] == "train.py --config c.yaml --data.root a b"
    assert call(*make, "test", "ARGS=-x", cwd=clone).returncode == 0
    assert of.commands()[-1] == "-m pytest -x"


@pytest.mark.parametrize("words", [(), ("tset",), ("--help",)])
def test_other_uses_are_explained(clone, words):
    ended = tasks(clone, *words)
    assert ended.returncode == 1
    assert "python tasks.py train" in ended.stderr
    assert "python tasks.py test" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_it_is_short_and_needs_only_the_standard_library(clone, tmp_path):
    assert len((ROOT / "tasks.py").read_text().splitlines()) <= 60
    code = "import sys; sys.path.insert(0, '.'); import tasks"
    assert call(sys.executable, "-I", "-S", "-c", code, cwd=clone).returncode == 0


def test_training_alone_has_no_packages_of_tests_and_extras():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = " ".join(project["dependencies"])
    for name in ("playwright", "pytest", "optuna", "onnx", "nbclient", "hypothesis", "ruff"):
        assert name not in names
        assert any(
            name in line for lines in project["optional-dependencies"].values() for line in lines
        )


def test_the_readme_shows_both_ways_at_first():
    readme = (ROOT / "README.md").read_text()
    first = readme[: readme.index("\n## ")]
    for command in ("make train", "make test", "python tasks.py train", "python tasks.py test"):
        assert command in first
    assert len(readme.splitlines()) <= 200
