"""Every config in `configs/` is found here by itself."""

import csv

import pytest

from tests.conftest import CONFIGS


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_config_takes_a_step(train, config, data_root, tmp_path):
    ended = train(
        *("--config", config, "--run_dir", "run", "--trainer.max_epochs", "1"),
        *("--trainer.limit_train_batches", "2", "--trainer.limit_val_batches", "1"),
        *("--trainer.limit_test_batches", "1", "--data.batch_size", "4"),
    )
    assert (ended.status, ended.err) == (0, "")
    with open(tmp_path / "run" / "metrics.csv") as file:
        rows = list(csv.DictReader(file))
    assert float(rows[1]["train/loss"]) > 0


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_config_is_short_and_says_how_it_is_used(config):
    text = config.read_text()
    assert len(text.splitlines()) <= 30
    assert f"python train.py --config configs/{config.name}" in text
