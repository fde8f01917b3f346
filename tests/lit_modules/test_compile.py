"""`model.compile`: the same checkpoints, and one graph for batches of all sizes."""

from functools import partial

import pytest
import torch

from lit_modules import LitClassifier


@pytest.fixture
def graphs(monkeypatch):
    """Makes `torch.compile` only trace networks, which is fast, and counts the graphs."""
    found = []

    def take_apart(graph, example_inputs):
        found.append(graph)
        return graph.forward

    torch.compiler.reset()
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=take_apart))
    yield found
    torch.compiler.reset()


def test_a_compiled_run_leaves_a_checkpoint_like_any_other(quickstart, tmp_path, graphs):
    """The last two batches of an epoch are smaller, in training and in validation."""
    ended = quickstart("--model.compile", "true")
    assert (ended.status, ended.err) == (0, "")
    assert len(graphs) == 2  # training and validation; the test is as `evaluate.py`
    compiled = (tmp_path / "run" / "checkpoints" / "best.ckpt").rename(tmp_path / "compiled.ckpt")
    (tmp_path / "run").rename(tmp_path / "first")
    assert quickstart().status == 0
    eager = tmp_path / "run" / "checkpoints" / "best.ckpt"
    weights = [torch.load(path, weights_only=True)["state_dict"] for path in (compiled, eager)]
    assert weights[0].keys() == weights[1].keys()
    for name, weight in weights[0].items():
        torch.testing.assert_close(weight, weights[1][name], msg=name)
    images = torch.rand(3, 1, 28, 28)
    del graphs[:]
    LitClassifier.load_from_checkpoint(compiled)(images)
    assert not graphs  # loading is for looking at it
