"""The benchmarks run, and compare what they say they compare."""

import json
import sys

import pytest

from benchmarks import data, loop


@pytest.mark.slow
@pytest.mark.parametrize("benchmark", [data, loop], ids=lambda module: module.__name__)
def test_a_benchmark_reports(benchmark, data_root, tmp_path, monkeypatch, capsys):
    arguments = ["--root", data_root, "--rounds", "1", "--json", str(tmp_path / "figures.json")]
    monkeypatch.setattr(sys, "argv", ["benchmark", *arguments])
    benchmark.main()
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert len(figures["figures"]) >= 2
    assert all(value > 0 for values in figures["figures"].values() for value in values)
    assert figures["machine"]["torch"]
    assert "ours/this" in capsys.readouterr().out
