"""The scripts on a Linux that lacks what Windows lacks."""

import csv
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import yaml
from PIL import Image

from tests.conftest import QUICKSTART
from tests.running import ROOT, TIMEOUT, run
from tests.terminal.windows import PEAK

WATCHING = """
from tests.terminal import windows

windows.pretend_api()
from training.processes import die_with_the_launcher

die_with_the_launcher()
print("watching", flush=True)
input()
print("still here", flush=True)
input()
"""

PRINTING = """
import io, sys
from tests.terminal import windows

if sys.argv[1] == "windows":
    windows.pretend_api()
    sys.stdout = io.TextIOWrapper(io.BufferedWriter(windows.Pipe(1, "w", closefd=False)))
from terminal.console import console
from terminal.errors import one_line_errors

with one_line_errors():
    {}
"""
SHORT, LONG = "print('a line')", "print('a line\\n' * 100_000)"
OF_A_FILE = "raise OSError(22, 'Invalid argument', 'a:b')"


@pytest.mark.parametrize("system", ["linux", "windows"])
@pytest.mark.parametrize("action", [SHORT, LONG, f"console.{SHORT}", OF_A_FILE])
def test_a_reader_that_ends_early_is_no_error(system, action):
    """`python compare.py runs | head -1`, for example."""
    reading, writing = os.pipe()
    os.close(reading)
    ended = subprocess.run(
        [sys.executable, "-c", PRINTING.format(action), system],
        stdout=writing,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": ""},
        timeout=TIMEOUT,
        encoding="utf-8",
    )
    os.close(writing)
    expected = "error: [Errno 22] Invalid argument: 'a:b'.\n" if action == OF_A_FILE else ""
    assert ended.stderr == expected
    assert ended.returncode == 2 if expected else ended.returncode in (1, 141)  # 1 is rich's


@pytest.mark.slow
def test_the_scripts_run(tmp_path):
    """In folders of Chinese names, spaces and backslashes, on a console that cannot show them."""
    folder = tmp_path / "my runs" / "数字"
    (folder / "图 像").mkdir(parents=True)
    name = "七\\7 é.png"
    digit = np.zeros((28, 28), np.uint8)
    digit[4:24, 12:16] = 255
    Image.fromarray(digit).save(folder / "图 像" / name)
    config = yaml.safe_load(QUICKSTART.read_text(encoding="utf-8"))
    config["trainer"] |= {"max_epochs": 1, "default_root_dir": "桌面 é", "accelerator": "cpu"}
    config["trainer"] |= {"limit_train_batches": 2, "limit_val_batches": 1}
    text = yaml.safe_dump(config, allow_unicode=True)
    (folder / "配置.yaml").write_text(text, encoding="utf-8")
    best = "运行 \\1/checkpoints/best.ckpt"
    commands = [
        ["train.py", "--config", "配置.yaml", "--run_dir", "运行 \\1"],
        ["evaluate.py", best, "--json", "测试.json"],
        ["predict.py", best, "图 像", "--out", "答案"],
        ["compare.py", "运行 \\1", "--out", "比较"],
    ]
    ended = run(
        *(sys.executable, "-m", "tests.terminal.windows", json.dumps(commands)),
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii"},
    )
    assert (ended.status, ended.err) == (0, "")
    assert "\\u8fd0\\u884c \\1/checkpoints/best.ckpt (epoch 1)" in ended.out
    assert "\\u4e03\\7 \\xe9.png" in ended.out
    saved = yaml.safe_load((folder / "运行 \\1" / "config.yaml").read_text(encoding="utf-8"))
    assert saved["trainer"]["default_root_dir"] == "桌面 é"
    results = json.loads((folder / "运行 \\1" / "results.json").read_text(encoding="utf-8"))
    assert results["peak_memory_bytes"] == PEAK
    figures = json.loads((folder / "测试.json").read_text(encoding="utf-8"))
    assert figures["accuracy"] == results["test_accuracy"]
    with open(folder / "答案" / "predictions.csv", encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file)
    assert name in "".join(row.values())
    assert not list(folder.rglob("*.tmp"))


def test_a_process_ends_with_its_launcher():
    """On Windows, the parent's id stays the same, and need not be that of the launcher."""
    launcher = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    told = {"LOCAL_RANK": "1", "TRAINING_DECISION": json.dumps({"launcher": launcher.pid})}
    process = subprocess.Popen(
        [sys.executable, "-c", WATCHING],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
        env=os.environ | told | {"PYTHONPATH": str(ROOT)},
    )
    try:
        assert process.stdout.readline() == "watching\n"
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "still here\n"
        launcher.communicate(b"\n")
        assert process.wait(TIMEOUT) == 1
    finally:
        for started in (launcher, process):
            started.kill()
            started.wait()
