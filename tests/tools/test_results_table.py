"""The tables of results say what is in `results/`, and what is not."""

import json
import re
import shutil
import statistics

from tests.running import ROOT
from tools.results_table import OTHERS, README, page_of, tables
from tools.train_results import plan


def rows_of(page, results):
    return [line for line in tables(page, results).splitlines() if line.startswith("| `")]


def test_a_row_is_the_mean_of_its_seeds_and_the_others_are_not_run(tmp_path):
    shutil.copytree(ROOT / "results" / "lenet", tmp_path / "lenet")
    (run,) = rows_of(README, tmp_path)
    found = [json.loads(path.read_text()) for path in tmp_path.glob("lenet/*/results.json")]
    accuracies = [100 * results["test_accuracy"] for results in found]
    mean, std = statistics.mean(accuracies), statistics.stdev(accuracies)
    assert run.startswith("| `lenet` | 0.06 M | 0.42 | 20 | 3 |")
    assert f"**{mean:.2f} ± {std:.2f}**" in run
    assert found[0]["device"] in run
    others = rows_of(OTHERS, tmp_path)
    (resnet,) = [row for row in others if row.startswith("| `resnet50`")]
    assert "| 23.52 M | 4,008.48 | 30 | 0 | not run | 93.1 |" in resnet
    assert len(others) == len({name for name, _, _ in plan(1)}) - 1
    assert all("not run" in row for row in others)


def test_the_readme_has_what_a_processor_has_trained(tmp_path):
    names = {name for name, _, _ in plan(1)}
    for name in names:
        (tmp_path / name).mkdir()
    found = {name for name in names if page_of(name, tmp_path) == README}
    assert found == {name for name in names if re.match(r"lenet|\w+_laptop", name)}


def test_the_readme_has_no_row_that_was_not_run():
    for row in rows_of(README, ROOT / "results"):
        assert "not run" not in row
