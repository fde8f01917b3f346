"""Trainings in the kernel of a notebook: what its cells show, and that the kernel goes on."""

import json
import re

import nbformat
import pytest
from nbclient import NotebookClient

from tests.conftest import ROOT

START = """
import signal
import torch
from lightning.pytorch import Callback, Trainer, seed_everything
from lightning.pytorch.loggers import TensorBoardLogger

from callbacks.best_and_last import BestAndLast
from callbacks.dashboard import Dashboard
from callbacks.divergence import StopWhenDiverged
from callbacks.epoch_lines import EpochLines
from callbacks.epoch_seed import EpochSeed
from callbacks.signals import SIGNALS, CrashOnly
from callbacks.stopwatch import Stopwatch
from datamodules import Digits
from lit_modules import LitClassifier
from models.lenet import LeNet5
from terminal.console import filter_known_warnings
from terminal.run_folder import RunFolder

filter_known_warnings()
own = {number: lambda number, frame: None for number in SIGNALS}
for number, handler in own.items():
    signal.signal(number, handler)

def fit(*callbacks):
    seed_everything(1)
    data, run, stopwatch = Digits(batch_size=64, image_size=28), RunFolder("run", ""), Stopwatch()
    trainer = Trainer(
        max_epochs=2, limit_train_batches=3, accelerator="cpu", enable_model_summary=False,
        logger=TensorBoardLogger("logs"),
        callbacks=[
            CrashOnly(), EpochSeed(), StopWhenDiverged(run), stopwatch, BestAndLast(run),
            EpochLines(), Dashboard(stopwatch, "", {}, every_n_epochs=1), *callbacks,
        ],
    )
    module = LitClassifier(LeNet5("tanh"))
    trainer.fit(module, data)
    figures = trainer.validate(module, data, verbose=False)
    figures += trainer.test(module, data, verbose=False)
    logits = torch.cat(trainer.predict(module, data))
    weights = sum(weight.double().abs().sum().item() for weight in module.parameters())
    return figures, weights, logits.double().sum().item()
"""
FIT = "first = fit()"
INTERRUPT = """
class Interrupt(Callback):
    def on_train_batch_end(self, *args):
        signal.raise_signal(signal.SIGINT)

fit(Interrupt())
"""
AGAIN = """
print({number: signal.getsignal(number) for number in SIGNALS} == own)
print(fit() == first)
"""
MATPLOTLIB = """
import matplotlib.pyplot as plt
print(plt.get_fignums(), "inline" in plt.get_backend())
"""


class RecordingClient(NotebookClient):
    """Keeps the messages of each cell, with the outputs that were replaced."""

    def process_message(self, message, cell, cell_index):
        kept = cell.metadata.setdefault("messages", [])
        kept.append((message["msg_type"], json.loads(json.dumps(message["content"]))))
        return super().process_message(message, cell, cell_index)


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    """The cells after they were run, one after the other, also after one that failed."""
    folder = tmp_path_factory.mktemp("notebook")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setenv("IPYTHONDIR", str(folder / "ipython"))
        sources = (START, FIT, INTERRUPT, AGAIN, MATPLOTLIB)
        book = nbformat.v4.new_notebook(cells=[*map(nbformat.v4.new_code_cell, sources)])
        resources = {"metadata": {"path": str(folder)}}
        RecordingClient(
            book, timeout=200, kernel_name="python3", allow_errors=True, resources=resources
        ).execute()
    return book.cells


def shown(cell):
    """The outputs of a cell, by their kind: text without colours, or the name of an error."""
    return [
        (
            output.get("name") or output.output_type,
            plain(output.get("data", {}).get("text/plain") or output.get("text") or output.ename),
        )
        for output in cell.outputs
    ]


def plain(text):
    return re.sub(r"\x1b\[[\d;]*m", "", text)


@pytest.mark.slow
def test_a_training_is_one_table(cells):
    assert shown(cells[0]) == []
    ((kind, table),) = shown(cells[1])
    assert kind == "display_data"
    head, *lines = table.splitlines()
    assert head.split() == ["epoch", "train", "loss", "acc", "val", "loss", "acc", "seconds"]
    assert [line.split()[0] for line in lines] == ["1/2", "2/2"]


@pytest.mark.slow
def test_its_bar_is_updated_in_place(cells):
    messages = cells[1].metadata["messages"]
    outputs = [content for kind, content in messages if kind.endswith("display_data")]
    assert len({content["transient"]["display_id"] for content in outputs}) == 1
    texts = [plain(content["data"]["text/plain"]) for content in outputs]
    assert any(re.search(r"^epoch 1/2 ━+╺━+ 1/3 ", text, re.MULTILINE) for text in texts)


@pytest.mark.slow
def test_an_interrupt_leaves_the_kernel_as_it_was(cells):
    table, end = shown(cells[2])
    assert table[0] == "display_data"
    assert "━" not in table[1]
    assert end == ("error", "SystemExit")
    printed = [text for kind, text in shown(cells[3]) if kind == "stdout"]
    assert printed == ["True\n", "True\n"]  # the handlers; every figure of another training


@pytest.mark.slow
def test_figures_are_shown_in_the_notebook_as_before(cells):
    assert shown(cells[4]) == [("stdout", "[] True\n")]
