"""The pages of TensorBoard for a run."""

import re
import shutil
import subprocess
import sys
from typing import NamedTuple

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from callbacks.mistakes import ConfidentMistakes

PICTURES = {
    *("train/augmented", "net/first_layer"),
    *(
        f"{stage}/{name}"
        for stage in ("val", "test")
        for name in ("confusion_matrix", "accuracy_by_class", "confident_mistakes")
    ),
}
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)


def read(run):
    events = EventAccumulator(str(run), size_guidance={"images": 0, "tensors": 0})
    events.Reload()
    return events


def test_all_pages_have_data(quickstart, tmp_path):
    quickstart("--trainer.max_epochs", "6", "--dashboard", "true")
    events = read(tmp_path / "run")
    tags = events.Tags()
    assert set(tags["images"]) == PICTURES
    assert tags["graph"]
    names = {"config/text_summary", "_hparams_/experiment", "custom_scalars__config__"}
    names |= {f"{stage}/{digit}" for stage in ("val", "test") for digit in range(10)}
    assert names <= {*tags["tensors"], *events.summary_metadata}
    steps = [event.step for event in events.Images("val/confusion_matrix")]
    assert steps == [5 * 20 - 1, 6 * 20 - 1]  # every fifth epoch, and the last


def test_it_is_off_by_one_key_and_changes_no_result(quickstart, tmp_path):
    for run, switch in (("with", "true"), ("without", "false")):
        quickstart("--run_dir", run, "--dashboard", switch, "--trainer.max_epochs", "2")
    assert not read(tmp_path / "without").Tags()["images"]
    ends = [
        torch.load(tmp_path / run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for run in ("with", "without")
    ]
    for name, tensor in ends[0].items():
        assert torch.equal(tensor, ends[1][name])
    csv = [(tmp_path / run / "metrics.csv").read_text() for run in ("with", "without")]
    assert csv[0] == csv[1]


class Untraceable(nn.Sequential):
    """The tracer does not know what it returns, and shows the tensors in its message."""

    def __init__(self, in_channels=1, num_classes=10):
        super().__init__(nn.Flatten(), nn.Linear(28 * 28 * in_channels, num_classes))

    def forward(self, images):
        logits = super().forward(images)
        return Answer(logits, {"a list": [1, "text"]}) if torch.jit.is_tracing() else logits


class Answer(NamedTuple):
    logits: torch.Tensor
    others: dict[str, list]


class Broken(Untraceable):
    """Its own error, of several lines."""

    def forward(self, images):
        if torch.jit.is_tracing():
            raise ValueError("not in a trace\n" * 10)
        return nn.Sequential(*self)(images)


class Branching(Untraceable):
    """What it does depends on the images: the graph shows what it did with one of them."""

    def forward(self, images):
        return nn.Sequential(*self)(images if images.sum() > 0 else -images)


@pytest.mark.parametrize("net", [Untraceable, Broken, Branching])
def test_a_graph_that_cannot_be_traced_is_one_line(quickstart, tmp_path, net):
    recipe = ("--model.net", f"{__name__}.{net.__name__}", "--trainer.limit_train_batches", 2)
    expected = quickstart(*recipe, "--run_dir", "without")
    ended = quickstart(*recipe, "--dashboard", "true")
    assert ended.status == 0
    assert len(ended.out.splitlines()) == len(expected.out.splitlines())
    has_graph = net is Branching
    assert read(tmp_path / "run").Tags()["graph"] == has_graph
    assert len(ended.err.splitlines()) == (not has_graph)
    assert ended.err.startswith("" if has_graph else "warning: TensorBoard shows no graph: ")
    assert len(ended.err) < 210


def test_the_most_confident_mistakes_of_all_batches_are_kept():
    mistakes = ConfidentMistakes(2)
    labels = torch.tensor([0, 0, 0])
    for offset in (0.0, 0.1):
        probabilities = torch.tensor(
            [[0.9, 0.1], [0.4 - offset, 0.6 + offset], [0.2, 0.8 - offset]]
        )
        mistakes.update(probabilities, torch.full((3, 1, 2, 2), offset), labels)
    found = mistakes.compute()
    torch.testing.assert_close(found.confidences, torch.tensor([0.8, 0.7]))
    assert found.predicted.tolist() == [1, 1]
    assert found.actual.tolist() == [0, 0]
    assert found.images[:, 0, 0, 0].tolist() == pytest.approx([0.0, 0.1])


TABS = {
    "scalars": "lr",
    "custom_scalars": "learning curves",
    "images": "net/first_layer",
    "graphs": "LeNet5",
    "hparams": "activation",
    "text": "config/text_summary",
    "pr_curves": "test/0",
}


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")
def test_a_browser_shows_it(quickstart, tmp_path):
    from playwright.sync_api import sync_playwright

    quickstart("--trainer.max_epochs", "2", "--dashboard", "true")
    server = subprocess.Popen(
        [sys.executable, "-m", "tensorboard.main", "--logdir", str(tmp_path), "--port", "0"],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        address = next(
            match[0] for line in server.stderr if (match := re.search(r"http://\S+", line))
        )
        assert re.match(r"http://(localhost|127\.0\.0\.1):", address)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=CHROMIUM,
                args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
            )
            page = browser.new_page(viewport={"width": 1400, "height": 900})
            for tab, text in TABS.items():
                page.goto(f"{address}#{tab}")
                page.get_by_text(text, exact=text == "lr").first.wait_for(
                    state="attached", timeout=30_000
                )
            page.goto(f"{address}#images")
            picture = page.locator("img[src*='data/plugin/images']").first
            picture.wait_for(state="attached", timeout=30_000)
            assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") > 100
            browser.close()
    finally:
        server.terminate()
        server.wait()
