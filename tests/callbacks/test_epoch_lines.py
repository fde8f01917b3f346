"""The console lines of the epochs."""

import torch
from lightning.pytorch import Trainer

from callbacks.epoch_lines import EpochLines
from datamodules import Digits
from lit_modules import LitClassifier
from models.lenet import LeNet5


def test_an_epoch_without_validation_leaves_its_columns_empty(quickstart):
    ended = quickstart(
        "--trainer.max_epochs",
        "3",
        "--trainer.check_val_every_n_epoch",
        "2",
        "--dashboard",
        "false",
    )
    assert (ended.status, ended.err) == (0, "")
    lines = [line.split() for line in ended.out.splitlines() if "/3 " in line]
    assert [len([word for word in line if word != "best"]) for line in lines] == [4, 6, 4]
    assert [line[-1] == "best" for line in lines] == [False, True, False]


def test_a_module_without_accuracy_has_epoch_lines(capsys):
    class Plain(LitClassifier):
        def training_step(self, batch, batch_idx):
            loss = torch.nn.functional.cross_entropy(self(batch[0]), batch[1])
            self.log("train/loss", loss, on_epoch=True, on_step=False)
            return loss

    Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        callbacks=[EpochLines()],
        enable_checkpointing=False,
        enable_model_summary=False,
    ).fit(Plain(LeNet5("tanh")), Digits(batch_size=256, image_size=28))
    head, line = capsys.readouterr().out.splitlines()[-2:]
    assert len(line.split()) == 6  # epoch, a loss, nothing, a loss, an accuracy, seconds, best
    assert line.index("%") == head.rindex("acc") + 2
