"""The README's tables say what is in `results/`, and what is not."""

import json
import shutil
import statistics

from docs.results_table import tables
from tests.running import ROOT


def test_a_row_is_the_mean_of_its_seeds_and_the_others_are_not_run(tmp_path):
    shutil.copytree(ROOT / "results" / "lenet", tmp_path / "lenet")
    rows = [line for line in tables(tmp_path).splitlines() if line.startswith("| `")]
    (run,) = [row for row in rows if "not run" not in row]
    found = [json.loads(path.read_text()) for path in tmp_path.glob("lenet/*/results.json")]
    accuracies = [100 * results["test_accuracy"] for results in found]
    mean, std = statistics.mean(accuracies), statistics.stdev(accuracies)
    assert run.startswith("| `lenet` | 0.06 M | 0.42 | 20 | 3 |")
    assert f"**{mean:.2f} ± {std:.2f}**" in run
    assert found[0]["device"] in run
    (resnet,) = [row for row in rows if row.startswith("| `resnet50`")]
    assert "| 23.52 M | 4,008.48 | 30 | 0 | not run | 93.1 |" in resnet
    assert len(rows) == 13 + 8
