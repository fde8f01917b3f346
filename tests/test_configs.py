"""Every config in `configs/` is found here by itself."""

import math

import pytest
import torch

from tests.conftest import CONFIGS
from training.cli import TrainingCLI


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
@pytest.mark.usefixtures("data_root")
def test_config_takes_a_step(config, tmp_path):
    cli = TrainingCLI(
        [
            *("--config", str(config), "--run_dir", str(tmp_path / "run"), "--dashboard", "false"),
            *("--trainer.max_epochs", "1", "--data.batch_size", "4"),
            *("--trainer.limit_train_batches", "1", "--trainer.limit_val_batches", "1"),
        ]
    )
    cli.trainer.callbacks.remove(cli.keeper)  # checkpoints of VGG-16 are gigabytes
    before = [p.detach().clone() for p in cli.model.net.parameters()]
    with cli.open_run():
        cli.trainer.fit(cli.model, cli.datamodule)
    assert 0 < cli.trainer.callback_metrics["train/loss"].item() < math.inf
    assert 0 <= cli.trainer.callback_metrics["val/acc"].item() <= 1
    after = cli.model.net.parameters()
    assert all(not torch.equal(p, q) for p, q in zip(before, after, strict=True))


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_config_is_short_and_says_how_it_is_used(config):
    text = config.read_text()
    assert len(text.splitlines()) <= 30
    assert f"python train.py --config configs/{config.name}" in text
