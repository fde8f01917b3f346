"""A batch with fewer samples than processes trains like an undivided one."""

import json

import pytest
import torch

from datamodules import Digits, Split
from tests.conftest import QUICKSTART
from tests.running import train_together
from tests.training.dying import SmallNet


class FewDigits(Digits):
    """The last of two batches has one sample, also in validation."""

    def load(self, stage):
        splits = super().load(stage)
        sizes = {"train": 11, "val": 5, "test": 7}
        return {
            name: Split(split.images[: sizes[name]], split.labels[: sizes[name]])
            for name, split in splits.items()
        }


def test_a_process_without_a_sample_changes_nothing(tmp_path):
    recipe = (
        *("--config", QUICKSTART, "--data", "tests.training.test_shares.FewDigits"),
        *("--data.batch_size", "2", "--data.image_size", "28", "--trainer.max_epochs", "3"),
        *("--model.optimizer", "torch.optim.SGD", "--model.optimizer.lr", "0.1"),
        *("--dashboard", "false"),
    )
    ways = {
        "whole": (),
        "two processes": (),
        "accumulated": ("--trainer.accumulate_grad_batches", "2"),
    }
    weights, results = {}, {}
    for name, options in ways.items():
        count = 2 if name == "two processes" else 1
        ended, *_ = train_together(count, *recipe, *options, "--run_dir", name, cwd=tmp_path)
        assert (ended.status, ended.err) == (0, "")
        last = tmp_path / name / "checkpoints" / "last.ckpt"
        weights[name] = torch.load(last, weights_only=True)["state_dict"]
        results[name] = json.loads((tmp_path / name / "results.json").read_text())
    for name in ("two processes", "accumulated"):
        # The same sums in another order, over 18 steps.
        torch.testing.assert_close(weights[name], weights["whole"], rtol=1e-4, atol=1e-6)
        for figure in ("val_accuracy", "test_accuracy", "test_images"):
            assert results[name][figure] == results["whole"][figure]
    assert results["whole"]["test_images"] == 7


def test_the_validated_statistics_are_saved(tmp_path):
    """Each process has its own batch-norm statistics; DDP validates with the first one's."""
    ended, _ = train_together(
        *(2, "--config", QUICKSTART, "--model.net", "tests.training.dying.SmallNet"),
        *("--data.batch_size", "256", "--trainer.max_epochs", "2", "--run_dir", "run"),
        *("--trainer.callbacks+=callbacks.EMAWeightAveraging", "--dashboard", "false"),
        cwd=tmp_path,
    )
    assert (ended.status, ended.err) == (0, "")
    best = torch.load(tmp_path / "run" / "checkpoints" / "best.ckpt", weights_only=True)
    net = SmallNet()
    net.load_state_dict({k.removeprefix("net."): v for k, v in best["state_dict"].items()})
    data = Digits(image_size=28)
    data.setup("fit")
    images, labels = data.splits["val"]
    with torch.no_grad():
        logits = net.eval()(data.preprocessing(images.float() / 255))
        loss = torch.nn.functional.cross_entropy(logits, labels).item()
    _, minus_val_loss = best["callbacks"]["BestAndLast"]["best_score"]
    assert -minus_val_loss == pytest.approx(loss, rel=1e-6)
