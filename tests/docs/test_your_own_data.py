"""Runs the commands of `docs/your-own-data.md` on 300 photographs of three classes."""

import json
import os
import re
import shlex
import subprocess
import sys

import pytest
from PIL import Image

from datamodules import Torchvision
from tests.conftest import ROOT
from tests.datamodules.test_idx import bars, write
from tests.datamodules.test_image_folder import SHADES, photograph

PAGE = (ROOT / "docs" / "your-own-data.md").read_text()
COMMANDS = [shlex.split(line) for line in re.findall(r"^python .*$", PAGE, re.MULTILINE)]


@pytest.mark.slow
def test_the_page_can_be_followed(tmp_path):
    for name, shade in SHADES.items():
        for index in range(100):
            size = (40 + 3 * index, 200 - index)
            kind = "test" if index < 10 else "train"
            photograph(tmp_path / "photos" / kind / name / f"{index}.jpg", shade, size, seed=index)
    # As from a phone: rotated, with an EXIF orientation.
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "photos" / "test" / "sky" / "0.jpg"
    Image.open(path).transpose(Image.Transpose.ROTATE_90).save(path, exif=exif)
    others = {"datamodules.Torchvision", "datamodules.Idx"}
    own = [command for command in COMMANDS if not others.intersection(command)]
    assert [command[1] for command in own] == [
        *("train.py", "evaluate.py", "predict.py", "export.py", "train.py", "train.py", "train.py")
    ]
    printed, configs = [], str(ROOT / "configs")
    for _, script, *arguments in own:
        ended = subprocess.run(
            [sys.executable, ROOT / script, *(a.replace("configs", configs) for a in arguments)],
            cwd=tmp_path,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=250,
        )
        assert (ended.returncode, ended.stderr) == (0, "")
        printed.append(ended.stdout)
    assert "photos, 243 + 27 images of 64 x 64" in printed[0]
    assert "split   val: 10 % of train each" in printed[0]
    results = json.loads((tmp_path / "runs" / "photos" / "1" / "results.json").read_text())
    assert results["test_accuracy"] == 1
    assert "photos, 30 test images" in printed[1]
    for name in SHADES:
        assert printed[2].count(f'predicted: "{name}"') == 10
        assert len(re.findall(rf'test/{name}/\d+.jpg: predicted: "{name}"', printed[2])) == 10
    assert "images, uint8 (N, 3, 64, 64)" in printed[3]
    assert "start   122 of 122 tensors" in printed[4]
    assert "trained)" in printed[5]
    assert "start   122 of 122 tensors" in printed[5]


def test_files_in_the_format_of_mnist_are_trained_on(train, tmp_path):
    (command,) = [command for command in COMMANDS if "datamodules.Idx" in command]
    write(tmp_path / "scans", "train", *bars(300, (24, 20)))
    write(tmp_path / "scans", "t10k", *bars(60, (24, 20), seed=1), end=".gz")
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    assert command[:2] == ["python", "train.py"]
    ended = train(*command[2:], "--dashboard", "false")
    assert (ended.status, ended.err) == (0, "")
    assert "scans, 270 + 30 images of 28 x 28" in ended.out
    results = json.loads((tmp_path / "runs" / "scans" / "1" / "results.json").read_text())
    assert results["test_accuracy"] == 1


def test_the_example_of_a_torchvision_dataset_exists():
    (command,) = [command for command in COMMANDS if "datamodules.Torchvision" in command]
    dataset = command[command.index("--data.dataset") + 1]
    assert Torchvision(dataset).kind.__name__ == "CIFAR10"
