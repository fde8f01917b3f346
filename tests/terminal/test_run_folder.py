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
        ("config.yaml", {"config": "..\\else"}, "config"),
        ("config.yaml", {"config": "nul\0"}, "config"),
        ("config.yaml", {"config": "\ud800"}, "config"),
        ("config.yaml", {"config": "x" * 201}, "config"),
        ("config.yaml", {"config": "lenet,lr=0.1 (@copy)~2"}, "lenet,lr=0.1 (@copy)~2"),
    ],
)
@pytest.mark.parametrize("number", ["mine", "3"])
def test_a_run_is_named_like_the_run_whose_config_it_has(tmp_path, number, file, results, name):
    """And no damaged or foreign file leads out of the folder of the runs."""
    folder = tmp_path / "before" / number
    folder.mkdir(parents=True)
    if results is not None:
        (folder / "results.json").write_text(json.dumps(results))
    if number == "3" and (file, name) == ("config.yaml", "config"):
        name = "before"
    assert ascii(run_name(folder / file)) == ascii(name)  # a report cannot hold a surrogate


def test_results_that_cannot_be_read_name_no_run(tmp_path):
    (tmp_path / "results.json").mkdir()
    assert run_name(tmp_path / "config.yaml") == "config"
