"""The benchmarks run and compare what they name; results can be made in several sessions."""

import argparse
import json
import subprocess
import sys

import pytest
import torch

import training.cli
from benchmarks import choices, data, loop, networks, photographs, startup
from lit_modules import small_maps
from tests.conftest import CONFIGS, ROOT
from tools import train_results

BRIEF = {
    data: [],
    loop: ["--batches", "4", "--tutorial", "16"],
    startup: [],
    choices: ["--recipes", "resnet18", "--variants", "as it is", "SGD", "--images", "128"],
    networks: [
        *("--networks", "lenet", "resnet18", "densenet121", "--modes", "float32"),
        *("--image_size", "32", "--batch_size", "2", "--steps", "1"),
    ],
}


@pytest.mark.slow
@pytest.mark.parametrize("benchmark", BRIEF, ids=lambda module: module.__name__)
def test_a_benchmark_reports(benchmark, data_root, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    root = [] if benchmark is networks else ["--root", data_root]
    arguments = [*root, "--rounds", "1", "--json", str(tmp_path / "figures.json")]
    monkeypatch.setattr(sys, "argv", ["benchmark", *arguments, *BRIEF[benchmark]])
    benchmark.main()
    content = json.loads((tmp_path / "figures.json").read_text())
    assert content["machine"]["torch"]
    for report in content["reports"]:
        assert all(value > 0 for values in report["figures"].values() for value in values)
    if benchmark is data:
        assert any("busy" in report["title"] for report in content["reports"])
    if benchmark is networks:
        compared = [report for report in content["reports"] if "torchvision" in report["figures"]]
        assert len(compared) == 2 * 2
    assert "times it" in capsys.readouterr().out


def test_the_choices_are_those_that_they_are_called(data_root, monkeypatch):
    """Precision, threads, batch, optimizer, averaged weights; whether convolutions and memory
    are the project's.
    """
    made = []
    has_amx, keep_freed_memory = small_maps.has_amx, training.cli.keep_freed_memory

    class Cli(choices.TrainingCLI):
        def __init__(self, arguments):
            super().__init__(arguments)
            made.append(self)
            self.trainer.fit = self.fit_nothing

        def fit_nothing(self, model, data):
            optimizer = model.build_optimizer()
            kinds = [type(callback).__name__ for callback in self.trainer.callbacks]
            self.found = (
                str(self.trainer.precision),
                torch.get_num_threads(),
                (data.batch_size, self.trainer.limit_train_batches),
                (type(optimizer).__name__, optimizer.defaults.get("fused")),
                "EMAWeightAveraging" in kinds,
                small_maps.has_amx is has_amx,
                training.cli.keep_freed_memory is keep_freed_memory,
            )
            self.stopwatch.images_per_second.append(1.0)
            for logger in self.trainer.loggers:
                logger.finalize("success")

    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(choices, "TrainingCLI", Cli)
    monkeypatch.setattr(sys, "argv", ["benchmark"])
    threads = torch.get_num_threads()
    args = argparse.Namespace(root=data_root, images=1024)
    for variant in choices.VARIANTS:
        choices.images_per_second("resnet18", variant, args)
    torch.set_num_threads(threads)
    found = dict(zip(choices.VARIANTS, (cli.found for cli in made), strict=True))
    precision = found["as it is"][0]
    adamw = ("AdamW", None)
    assert {name: values[:-2] for name, values in found.items()} == {
        "as it is": (precision, 1, (128, 8), adamw, True),
        "float32": ("32-true", 1, (128, 8), adamw, True),
        "two threads": (precision, 2, (128, 8), adamw, True),
        "batches of 64": (precision, 1, (64, 16), adamw, True),
        "batches of 128": (precision, 1, (128, 8), adamw, True),
        "batches of 512": (precision, 1, (512, 2), adamw, True),
        "SGD": (precision, 1, (128, 8), ("SGD", None), True),
        "fused AdamW": (precision, 1, (128, 8), ("AdamW", True), True),
        "AdamW, not fused": (precision, 1, (128, 8), ("AdamW", False), True),
        "no averaged weights": (precision, 1, (128, 8), adamw, False),
        "no products": (precision, 1, (128, 8), adamw, True),
        "memory given back": (precision, 1, (128, 8), adamw, True),
    }
    as_ours = {name: values[-2:] for name, values in found.items() if not all(values[-2:])}
    assert as_ours == {"no products": (False, True), "memory given back": (True, False)}


@pytest.mark.slow
def test_photographs_are_predicted_in_a_process_that_is_measured(
    digits_run, data_root, tmp_path, monkeypatch
):
    checkpoint, file = digits_run / "checkpoints" / "best.ckpt", tmp_path / "figures.json"
    options = ["--root", data_root, "--pictures", "2", "--json", str(file)]
    monkeypatch.setattr(sys, "argv", ["benchmark", str(checkpoint), *options])
    photographs.main()
    reports = json.loads(file.read_text())["reports"]
    seconds, cpu, memory = (report["figures"]["predict.py"][0] for report in reports)
    assert cpu > 0 < seconds
    assert 100 < memory < 4000  # torch alone is 200 MiB or more


def test_the_plan_names_every_config_and_one_seed_of_everything_first():
    plan = list(train_results.plan(seeds=2))
    names = [name for name, _, _ in plan]
    assert {path.stem for path in CONFIGS} - {"quickstart"} <= set(names)
    assert [seed for _, seed, _ in plan] == sorted(seed for _, seed, _ in plan)
    assert len({(name, seed) for name, seed, _ in plan}) == len(plan)


@pytest.mark.slow
def test_results_come_in_pieces(data_root, tmp_path):
    """On small images and few batches: with no time, then some, until nothing is left."""

    def run(minutes):
        return subprocess.run(
            [
                *(sys.executable, "-m", "tools.train_results", "--out", str(tmp_path)),
                *("--minutes", minutes, "--seeds", "1", "--only", "resnet18_mnist"),
                *("--data.root", data_root, "--data.image_size", "32", "--data.batch_size", "8"),
                *("--trainer.max_epochs", "1", "--trainer.limit_train_batches", "2"),
                *("--trainer.limit_val_batches", "2", "--trainer.limit_test_batches", "2"),
            ],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=200,
            check=True,
        )

    assert "goes on next time" in run("0.01").stdout
    run("3")
    found = json.loads((tmp_path / "resnet18_mnist" / "1" / "results.json").read_text())
    assert found["dataset"] == "MNIST"
    assert run("3").stdout == ""
