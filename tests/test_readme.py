"""Runs the commands of the README and the guides as written."""

import re
import shlex
import subprocess

import pytest

import compare
import evaluate
import export
import predict
import sweep
import train
from tests.conftest import QUICKSTART, ROOT

SCRIPTS = {
    script.__name__: script.main for script in (compare, evaluate, export, predict, sweep, train)
}
README = (ROOT / "README.md").read_text()
TOUR = README[README.index("## A tour") : README.index("## A run")]
TRAINING = (ROOT / "docs" / "training.md").read_text()


def commands(text):
    """The lines of the code blocks that start a script, as lists of words."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [shlex.split(line) for line in lines if re.match(r"python \w+\.py", line)]


@pytest.mark.slow
def test_the_tour_works(run_script, data_root, monkeypatch, tmp_path):
    """In order, each command as written, except for the length of the training."""
    monkeypatch.setenv("DATA_ROOT", data_root)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    brief = ("--trainer.max_epochs", "2", "--trainer.limit_train_batches", "60")
    seen = []
    for _, script, *words in commands(TOUR):
        name = script.removesuffix(".py")
        if name in ("train", "sweep"):
            words += brief
        if name == "sweep":
            words[words.index("--trials") + 1] = "2"
        ended = run_script(SCRIPTS[name], *words)
        assert (ended.status, ended.err) == (0, ""), script
        seen.append(name)
    assert seen == ["train", "evaluate", "predict", "export", "compare", "sweep"]
    assert (tmp_path / "fashion.onnx").exists()
    assert (tmp_path / "confusion.png").exists()


PAGES = README.replace(TOUR, "") + TRAINING
OTHERS = [words for words in commands(PAGES) if words[1] == "train.py"]


@pytest.mark.parametrize("words", OTHERS, ids=" ".join)
def test_the_other_commands_parse(run_script, words):
    arguments = [str(ROOT / word) if word.startswith("configs/") else word for word in words[2:]]
    ended = run_script(train.main, *arguments, "--print_config")
    assert (ended.status, ended.err) == (0, "")


OPTIONS = re.findall(r"\| `(--[^`]+)`", TRAINING)


@pytest.mark.parametrize("options", OPTIONS)
def test_the_options_of_the_table_parse(run_script, options):
    ended = run_script(train.main, "--config", QUICKSTART, *shlex.split(options), "--print_config")
    assert (ended.status, ended.err) == (0, "")


def test_link_targets_exist():
    tracked = subprocess.run(
        ["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    for name in tracked:
        page = ROOT / name
        for target in re.findall(r"\]\(([^)#]+)\)|src=\"([^\"]+)\"", page.read_text()):
            target = "".join(target)
            if not target.startswith("http"):
                assert (page.parent / target).exists(), (name, target)


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_script_is_short_and_has_help(name, run_script):
    assert len((ROOT / f"{name}.py").read_text().splitlines()) <= 60
    ended = run_script(SCRIPTS[name], "--help")
    assert (ended.status, ended.err) == (0, "")
    assert "--help" in ended.out
