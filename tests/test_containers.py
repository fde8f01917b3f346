"""The scripts where nothing can be written but the folders `data` and `runs`, by a nameless user.

So it is in a container that is started with a read-only file system and an arbitrary user id. No
image is built: `tests/container.py` makes what a container would be.
"""

import json
import shutil
import subprocess
import sys
import tempfile

import pytest

from terminal import surroundings
from terminal.errors import UserError
from tests.conftest import QUICKLY, ROOT, assert_one_line
from tests.running import run
from tests.test_dockerfile import sent

WRITABLE = ("data", "runs")
ENTER = (sys.executable, "-m", "tests.container")


@pytest.fixture(scope="session")
def containers():
    """Skips a test where the system has no namespaces or does not let this user make them."""
    if sys.platform != "linux":
        pytest.skip("only Linux has namespaces")
    tried = subprocess.run([*ENTER, "[]", "true"], cwd=ROOT, capture_output=True, text=True)
    if tried.returncode:
        reason = tried.stderr.strip().splitlines()[-1]
        of_the_system = ("OSError", "PermissionError", "FileNotFoundError")
        assert reason.startswith(of_the_system), tried.stderr
        pytest.skip(f"this user cannot make namespaces: {reason}")


@pytest.fixture
def contained(containers, tmp_path):
    """Runs a script in a container, whose working folder has the image's files."""
    for name in WRITABLE:
        (tmp_path / name).mkdir()
    for name in sent():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)

    def run_contained(*command, writable=WRITABLE, env=None):
        folders = json.dumps([str(tmp_path / name) for name in writable])
        inside = ("env", "--ignore-environment", *(f"{k}={v}" for k, v in (env or {}).items()))
        started = (*inside, "OMP_NUM_THREADS=1", "COLUMNS=80", sys.executable, *command)
        return run(*ENTER, folders, *started, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)})

    return run_contained


@pytest.mark.slow
@pytest.mark.parametrize("home", [{}, {"HOME": "/"}], ids=["no home", "of docker"])
def test_the_quick_start_trains(contained, tmp_path, home):
    quickly = ("--config", "configs/quickstart.yaml", "--trainer.max_epochs", "1")
    ended = contained("train.py", *quickly, env=home)
    assert (ended.status, ended.err) == (0, "")
    assert (tmp_path / "runs" / "quickstart" / "1" / "results.json").exists()


@pytest.mark.slow
def test_two_processes_train(contained, tmp_path):
    two = ("--trainer.accelerator", "cpu", "--trainer.devices", "2")
    ended = contained("train.py", *QUICKLY, *two, "--run_dir", "runs/two")
    assert (ended.status, ended.err) == (0, "")
    assert (tmp_path / "runs" / "two" / "results.json").exists()


@pytest.mark.slow
def test_a_missing_compiler_is_named(contained):
    """A slim image has none; nor has the folder that PATH names."""
    compiled = ("--model.compile", "true", "--run_dir", "runs/compiled")
    ended = contained("train.py", *QUICKLY, *compiled, env={"PATH": "configs"})
    assert ended.status == 2
    assert len(ended.err.splitlines()) == 1
    assert "model.compile needs a C++ compiler" in ended.err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "options", "made"),
    [
        ("evaluate.py", ("--figure", "runs/confusion.png"), "confusion.png"),
        ("predict.py", ("--out", "runs/predictions"), "predictions/predictions.png"),
        ("export.py", ("--out", "runs/digits.onnx"), "digits.onnx"),
        ("compare.py", ("--out", "runs/comparison"), "comparison/learning_curves.png"),
    ],
)
def test_a_script_reads_a_run(contained, tmp_path, digits_run, script, options, made):
    read = digits_run if script == "compare.py" else digits_run / "checkpoints" / "best.ckpt"
    ended = contained(script, read, *options)
    assert (ended.status, ended.err) == (0, "")
    assert (tmp_path / "runs" / made).exists()


@pytest.mark.slow
@pytest.mark.parametrize("script", ["predict.py", "export.py", "compare.py"])
def test_a_folder_that_cannot_be_written_is_named_before_any_work(contained, digits_run, script):
    read = digits_run if script == "compare.py" else digits_run / "checkpoints" / "best.ckpt"
    assert_one_line(contained(script, read, writable=()), ["--out", "cannot write"])


def test_without_any_temporary_folder_the_variable_is_named(monkeypatch, tmp_path):
    for variable in ("TMPDIR", "TEMP", "TMP"):
        monkeypatch.delenv(variable, raising=False)
    missing = str(tmp_path / "missing")
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: [missing])
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(surroundings, "IN_MEMORY", missing)
    with pytest.raises(UserError, match="TMPDIR"):
        surroundings._find_temporary_folder()
