"""Runs `docs/notebook.ipynb` as a reader does, and asks its network once more by a plain loop."""

import json
import re

import nbformat
import pytest
from nbclient import NotebookClient

from tests.conftest import ROOT

NOTEBOOK = ROOT / "docs" / "notebook.ipynb"
# What a reader could type into one more cell, without Lightning, the data module or torchmetrics.
PLAIN = """
import json

correct, table = 0, [[0] * 10 for _ in range(10)]
net.eval()
with torch.no_grad():
    for image, label in zip(*data.splits["test"], strict=True):
        image = (image[None] / 255 - Digits.mean) / Digits.std
        image = torch.nn.functional.interpolate(image, (28, 28), mode="bilinear")
        answer = net(image)[0].argmax().item()
        correct += answer == label.item()
        table[label][answer] += 1
print(json.dumps({
    "correct": correct,
    "number": len(data.splits["test"].labels),
    "is_the_table": table == confusion.compute().tolist(),
    "mistakes_shown": len(worst),
}))
"""


def printed(cell):
    """What a cell has written to stdout."""
    return "".join(output.text for output in cell.outputs if output.output_type == "stream")


@pytest.mark.slow
def test_the_notebook_learns_and_its_figures_are_those_of_a_plain_loop(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    book = nbformat.read(NOTEBOOK, as_version=4)
    assert [cell.cell_type for cell in book.cells] == ["markdown", "code"] * 5
    book.cells.append(nbformat.v4.new_code_cell(PLAIN))
    (tmp_path / "work").mkdir()
    resources = {"metadata": {"path": str(tmp_path / "work")}}
    # It raises what a cell raises.
    NotebookClient(book, timeout=200, kernel_name="python3", resources=resources).execute()
    cells = [cell for cell in book.cells if cell.cell_type == "code"]
    outputs = [output for cell in cells for output in cell.outputs]
    kinds = {(output.output_type, output.get("name")) for output in outputs}
    assert kinds == {("stream", "stdout"), ("display_data", None)}  # and not stderr
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 3
    shown = [output.get("data", {}).get("text/plain", "") for output in outputs]
    said = "\n".join([*map(printed, cells), *shown])
    assert not re.search(r"warn|tip:|litlogger|available|\.py:\d", said, re.IGNORECASE)
    assert not list((tmp_path / "work").iterdir())  # nothing is left behind

    plain = json.loads(printed(cells[-1]))
    accuracy = plain["correct"] / plain["number"]
    assert plain["number"] == 360
    assert accuracy > 0.95
    assert f"test accuracy {accuracy:.2%}, loss" in printed(cells[2])
    assert f"{plain['correct']} of 360 test images are right" in printed(cells[3])
    assert plain["is_the_table"]
    assert plain["mistakes_shown"] == min(8, 360 - plain["correct"])


def test_the_notebook_is_kept_without_outputs():
    """So that it says nothing that its code does not, and a change of it can be read."""
    for cell in nbformat.read(NOTEBOOK, as_version=4).cells:
        if cell.cell_type == "code":
            assert (cell.outputs, cell.execution_count) == ([], None)
