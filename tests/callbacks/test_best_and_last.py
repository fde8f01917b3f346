from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import Trainer, seed_everything

from callbacks.best_and_last import BestAndLast
from datamodules import Digits
from lit_modules import LitClassifier
from models.lenet import LeNet5
from terminal.atomic import write_atomically
from terminal.run_folder import RunFolder


def keep(folder, epochs):
    """The checkpoints of a run whose epochs have these val/acc and val/loss."""
    run = RunFolder(str(folder), "name")
    run.take().release()
    keeper = BestAndLast(run)
    for epoch, (accuracy, loss) in enumerate(epochs):
        trainer = SimpleNamespace(
            callback_metrics={"val/acc": torch.tensor(accuracy), "val/loss": torch.tensor(loss)},
            current_epoch=epoch,
            is_global_zero=True,
            should_stop=False,
            loggers=[],
            save_checkpoint=lambda path, epoch=epoch: write_atomically(
                path, lambda beside: beside.write_text(str(epoch))
            ),
        )
        keeper.on_train_epoch_end(trainer, None)
        assert run.last.read_text() == str(epoch)
    return int(run.best.read_text())


@pytest.mark.parametrize(
    ("epochs", "best"),
    [
        ([(0.5, 1.0), (0.75, 2.0), (0.25, 0.1)], 1),  # the accuracy decides
        ([(0.5, 1.0), (0.5, 0.9), (0.5, 0.95)], 1),  # then the loss
        ([(0.5, 1.0), (0.5, 1.0)], 0),  # then the first
    ],
)
def test_the_best_is_the_highest_accuracy_and_of_those_the_lowest_loss(tmp_path, epochs, best):
    assert keep(tmp_path / "run", epochs) == best


def test_a_failed_write_keeps_the_old_file(tmp_path):
    target = tmp_path / "file"
    target.write_text("whole")

    def fail(path):
        path.write_text("ha")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_atomically(target, fail)
    assert target.read_text() == "whole"
    assert list(tmp_path.iterdir()) == [target]


def test_a_trainer_tests_the_best(tmp_path):
    """A rate of 1 after the first epoch: the last network is worse."""
    seed_everything(1)
    run, data = RunFolder(str(tmp_path / "run"), ""), Digits(batch_size=64, image_size=28)
    module = LitClassifier(
        LeNet5("tanh"),
        optimizer=lambda parameters: torch.optim.Adam(parameters, lr=0.001),
        schedule=lambda optimizer: torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda epoch: 1 if epoch == 0 else 1000
        ),
    )
    trainer = Trainer(
        max_epochs=2,
        accelerator="cpu",
        logger=False,
        callbacks=BestAndLast(run),
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, data)
    (best,) = trainer.test(datamodule=data, ckpt_path="best", verbose=False)
    (last,) = trainer.test(datamodule=data, ckpt_path=run.last, verbose=False)
    assert best["test/acc"] > last["test/acc"] + 0.1
    resumed = BestAndLast(run)
    resumed.load_state_dict(trainer.checkpoint_callback.state_dict())
    assert resumed.best_model_path == str(run.best)
    assert BestAndLast(run).best_model_path == ""
