"""The tables of results show what is in `results/`, and what is missing."""

import json
import re
import shutil
import statistics

import pytest

from tests.running import ROOT
from tools.results_table import LEFT, LONG, SHORT, TABLES, current, tables
from tools.train_results import plan


def rows_of(columns, were_run, results):
    made = tables(columns, were_run, results)
    return [line for line in made.splitlines() if line.startswith("| [")]


def test_a_row_is_the_mean_of_its_seeds_and_other_rows_stay(tmp_path):
    shutil.copytree(ROOT / "results" / "lenet", tmp_path / "lenet")
    found = [json.loads(path.read_text()) for path in tmp_path.glob("lenet/*/results.json")]
    accuracies = [100 * results["test_accuracy"] for results in found]
    mean, std = statistics.mean(accuracies), statistics.stdev(accuracies)
    (short,) = rows_of(SHORT, True, tmp_path)
    assert short.startswith("| [LeNet-5](docs/models/lenet.md) | `lenet` | 0.06 M | 3 |")
    assert f"**{mean:.2f} ± {std:.2f}**" in short
    (long,) = rows_of(LONG, True, tmp_path)
    assert found[0]["device"] in long
    left = rows_of(LEFT, False, tmp_path)
    (resnet,) = [row for row in left if "| `resnet50`" in row]
    assert "[ResNet-50](docs/models/resnet.md)" in resnet
    assert "| 23.52 M | 4,008.48 | 30 | 93.1 |" in resnet
    assert len(left) == len({name for name, _, _ in plan(1)}) - 1


CHANGES = {
    "another seed": (r"^seed_everything: 1$", "seed_everything: 5", True),
    "what the recipe leaves open": (r"compile: false", "compile: true", True),
    "epochs of the command": (r"max_epochs: 8", "max_epochs: 9", False),
    "learning rate": (r" lr: 0.001", " lr: 0.002", False),
    "optimizer": (r"torch.optim.AdamW", "torch.optim.SGD", False),
    "network": (r"models.resnet.resnet18", "models.resnet.resnet34", False),
    "dataset": (r"datamodules.MNIST", "datamodules.FashionMNIST", False),
    "augmentation": (r"p: 0.25", "p: 0.5", False),
    "callback": (r"callbacks.EMAWeightAveraging", "callbacks.Other", False),
    "image size": (r"image_size: 64", "image_size: 48", False),
}


@pytest.mark.parametrize(("old", "new", "is_the_same"), CHANGES.values(), ids=CHANGES)
def test_a_run_of_another_recipe_is_marked(tmp_path, old, new, is_the_same):
    name = "resnet18_laptop_mnist"
    shutil.copytree(ROOT / "results" / name, tmp_path / name)
    path = tmp_path / name / "1" / "config.yaml"
    text, changes = re.subn(old, new, path.read_text(), flags=re.MULTILINE)
    assert changes == 1
    path.write_text(text)
    (row,) = rows_of(SHORT, True, tmp_path)
    assert ("| `laptop/resnet18` |" in row) == is_the_same
    assert ("| `laptop/resnet18` † |" in row) != is_the_same


def test_a_table_has_no_empty_cell():
    for _, _, columns, were_run in TABLES:
        for row in rows_of(columns, were_run, ROOT / "results"):
            assert all(cell.strip() for cell in row.strip("|").split("|"))


def test_every_table_is_in_a_page():
    for page, mark, columns, were_run in TABLES:
        text = current(page)
        between = text[text.index(f"<!-- {mark} -->") : text.index(f"<!-- /{mark} -->")]
        assert between.count("| [") == len(rows_of(columns, were_run, ROOT / "results"))
        for target in re.findall(r"\]\(([^)]+)\)", between):
            assert ((ROOT / page).parent / target).exists()
