"""The tables of results show what is in `results/`, and what is missing."""

import json
import re
import shutil
import statistics

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
