"""Pruning uses only the epochs of a trial that were validated."""

import pytest
from lightning.pytorch import Trainer

from datamodules import Digits
from lit_modules import LitClassifier
from models.lenet import LeNet5

sweeping = pytest.importorskip("sweeping.study")


class Trial:
    def __init__(self):
        self.reported = {}

    def report(self, value, step):
        self.reported[step] = value

    def should_prune(self):
        return False


def test_epochs_without_validation_are_not_reported():
    trial = Trial()
    trainer = Trainer(
        max_epochs=5,
        check_val_every_n_epoch=2,
        callbacks=[sweeping.ReportAndPrune(trial)],
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(LitClassifier(LeNet5("tanh")), Digits(batch_size=256, image_size=28))
    assert list(trial.reported) == [1, 3]
    assert trial.reported[1] != trial.reported[3]
