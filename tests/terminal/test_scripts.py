"""The help of the scripts beside train.py."""

from argparse import ArgumentParser, ArgumentTypeError

import pytest

import compare
import evaluate
import export
import predict
import sweep
from terminal.scripts import output_file, output_folder


@pytest.mark.parametrize("script", [compare, evaluate, export, predict, sweep])
def test_the_help_explains_each_option_with_its_default(run_script, monkeypatch, script):
    asked = []
    monkeypatch.setattr(ArgumentParser, "print_help", lambda parser: asked.append(parser))
    assert run_script(script.main, "--help").status == 0
    (parser,) = asked
    for action in parser._actions:
        assert action.help, action.option_strings
        if action.option_strings and action.type and action.default is not None:
            assert f"default: {action.default}" in action.help


@pytest.mark.parametrize("check", [output_folder, output_file(".onnx")])
def test_an_output_below_a_file_is_refused(tmp_path, check):
    (tmp_path / "file").write_text("of the user")
    with pytest.raises(ArgumentTypeError):
        check(str(tmp_path / "file" / "model.onnx"))
