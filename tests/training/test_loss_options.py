"""A loss, class weights, metrics and mixed batches by the command line."""

import csv
import json

import pytest

import evaluate as evaluate_script
from tests.conftest import QUICKLY, assert_one_line
from tests.running import train_together

CLASSIFICATION = "torchmetrics.classification"
F1 = f"{CLASSIFICATION}.MulticlassF1Score"
LOSS = "--model.loss"
UNSMOOTHED = ("--model.label_smoothing", 0)


def test_metrics_are_in_the_curves_the_results_and_the_evaluation(train, run_script, tmp_path):
    metrics = ("--model.metrics", f"[{F1},{CLASSIFICATION}.MulticlassCohenKappa]")
    ended = train(*QUICKLY, *metrics, "--trainer.max_epochs", 3, "--run_dir", "run")
    assert (ended.status, ended.err) == (0, "")
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    rows = list(csv.DictReader((tmp_path / "run" / "metrics.csv").open()))
    best = max(float(row["val/acc"]) for row in rows if row["val/acc"])
    of_best = next(row for row in rows if row["val/acc"] and float(row["val/acc"]) == best)
    tested = next(row for row in rows if row["test/acc"])
    checkpoint = tmp_path / "run" / "checkpoints" / "best.ckpt"
    ended = run_script(evaluate_script.main, checkpoint, "--json", tmp_path / "figures.json")
    assert (ended.status, ended.err) == (0, "")
    figures = json.loads((tmp_path / "figures.json").read_text())
    for name in ("f1_score", "cohen_kappa"):
        in_test = results["metrics"][f"test/{name}"]
        assert float(of_best[f"val/{name}"]) == results["metrics"][f"val/{name}"]
        assert float(tested[f"test/{name}"]) == in_test
        assert figures["metrics"][name] == pytest.approx(in_test, abs=1e-6)
        assert f"{name:<11}" in ended.out
    of_classes = [of["f1"] for of in figures["classes"].values()]
    assert figures["metrics"]["f1_score"] == pytest.approx(sum(of_classes) / 10, abs=1e-6)


@pytest.mark.slow
def test_two_processes_train_as_one(tmp_path):
    """With class weights and metrics, whose states are of both."""
    results = []
    for count in (1, 2):
        ended, *_ = train_together(
            *(count, *QUICKLY, "--data.augment", "null", "--dashboard", "false"),
            *("--model.class_weights", "balanced", "--model.metrics", f"[{F1}]"),
            *("--run_dir", f"of_{count}"),
            cwd=tmp_path,
        )
        assert (ended.status, ended.err) == (0, "")
        results.append(json.loads((tmp_path / f"of_{count}" / "results.json").read_text()))
    one, two = results
    assert one["metrics"] == pytest.approx(two["metrics"], abs=1e-6)
    assert one["test_loss"] == pytest.approx(two["test_loss"], rel=1e-4)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ([LOSS, "torch.nn.CrossEntropyLoss", "--model.loss.reduction", "sum", *UNSMOOTHED],
         ["CrossEntropyLoss", "mean"]),
        ([LOSS, "torch.nn.CrossEntropyLoss", "--model.loss.reduction", "none", *UNSMOOTHED],
         ["CrossEntropyLoss", "mean"]),
        ([LOSS, "torch.nn.BCEWithLogitsLoss", *UNSMOOTHED],
         ["model.loss", "BCEWithLogitsLoss", "(2, 10)", "(2,)"]),
        ([LOSS, "torch.nn.MultiMarginLoss", *UNSMOOTHED,
          "--data.mix", "torchvision.transforms.v2.CutMix"],
         ["MultiMarginLoss", "probabilities (2, 10)"]),
        ([LOSS, "torch.nn.MultiMarginLoss", "--model.class_weights", "balanced"],
         ["class_weights", "MultiMarginLoss"]),
        ([LOSS, "torch.nn.MultiMarginLoss", "--model.label_smoothing", 0.1],
         ["label_smoothing", "MultiMarginLoss"]),
        (["--model.class_weights", "[1, 2]"], ["10 numbers", "[1.0, 2.0]"]),
        (["--model.class_weights", "even"], ["class_weights", "balanced"]),
        (["--model.metrics", "[torchmetrics.F1Score]"], ["metrics", "MulticlassF1Score"]),
        (["--model.metrics", "[torch.nn.ReLU]"], ["metrics must be made", "MulticlassF1Score"]),
        (["--model.metrics", f'[{{"class_path": "{F1}", "init_args": {{"average": null}}}}]'],
         ["MulticlassF1Score", "one number"]),
    ],
)  # fmt: skip
def test_what_does_not_fit_gets_one_line(train, options, named):
    assert_one_line(train(*QUICKLY, *options), named)


def test_a_loss_of_kornia_is_evaluated_without_being_trusted(train, run_script, tmp_path):
    focal = (LOSS, "kornia.losses.FocalLoss", f"{LOSS}.alpha", 0.5, f"{LOSS}.reduction", "mean")
    ended = train(*QUICKLY, *focal, *UNSMOOTHED, "--run_dir", "run")
    assert (ended.status, ended.err) == (0, "")
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    ended = run_script(evaluate_script.main, tmp_path / "run" / "checkpoints" / "best.ckpt")
    assert (ended.status, ended.err) == (0, "")
    assert f"{results['test_loss']:.4f}" in ended.out
