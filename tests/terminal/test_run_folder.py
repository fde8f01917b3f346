import json

import pytest

from terminal.run_folder import run_name


@pytest.mark.parametrize(
    ("file", "results", "name"),
    [
        ("lenet.yaml", None, "lenet"),
        ("lenet.yaml", {"config": "other"}, "lenet"),
        ("config.yaml", None, "config"),
        ("config.yaml", {"config": "resnet18+my laptop"}, "resnet18+my laptop"),
        ("config.yaml", {}, "config"),
        ("config.yaml", ["config"], "config"),
        ("config.yaml", {"config": 3}, "config"),
        ("config.yaml", {"config": ""}, "config"),
        ("config.yaml", {"config": ".."}, "config"),
        ("config.yaml", {"config": "../../else"}, "config"),
        ("config.yaml", {"config": "/tmp"}, "config"),
        ("config.yaml", {"config": "nul\0"}, "config"),
        ("config.yaml", {"config": "x" * 101}, "config"),
    ],
)
def test_a_run_is_named_like_the_finished_run_whose_config_it_has(tmp_path, file, results, name):
    """And no damaged or foreign file leads out of the folder of the runs."""
    if results is not None:
        (tmp_path / "results.json").write_text(json.dumps(results))
    assert run_name(tmp_path / file) == name
