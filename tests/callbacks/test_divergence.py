"""A run whose loss is not finite stops and names the step."""

from types import SimpleNamespace

import pytest
import torch

from callbacks.divergence import StopWhenDiverged
from terminal.errors import UserError
from terminal.run_folder import RunFolder

STEP_LR = (
    *("--model.schedule", "torch.optim.lr_scheduler.StepLR"),
    *("--model.schedule.step_size", "1", "--model.schedule.gamma"),
)


def test_a_run_that_diverges_at_once_says_so(quickstart, tmp_path):
    ended = quickstart(
        "--model.optimizer.lr", "1e30", "--model.net.activation", "relu", *STEP_LR, "1"
    )
    assert ended.status == 2
    assert ended.err.splitlines() == [
        "error: the loss is not finite in step 2, at learning rate 1e+30: the training has "
        "diverged. No epoch was finished."
    ]
    assert not list((tmp_path / "run" / "checkpoints").iterdir())
    assert not (tmp_path / "run" / "results.json").exists()


def test_the_last_good_checkpoint_is_kept(quickstart, tmp_path):
    ended = quickstart(
        *("--trainer.max_epochs", "3", "--model.net.activation", "relu", *STEP_LR, "1e38")
    )
    assert ended.status == 2
    assert len(ended.err.splitlines()) == 1
    for words in ("not finite in step 22", "4e+35", "is run/checkpoints/last.ckpt"):
        assert words in ended.err
    last = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["epoch"] == 0
    assert all(weight.isfinite().all() for weight in last["state_dict"].values())


def test_a_validation_loss_that_is_not_finite_stops_the_run(tmp_path):
    callback = StopWhenDiverged(RunFolder(str(tmp_path), "name"))
    trainer = SimpleNamespace(callback_metrics={"val/loss": torch.tensor(1.0)}, global_step=7)
    callback.on_train_epoch_end(trainer, None)
    trainer.callback_metrics["val/loss"] = torch.tensor(float("nan"))
    with pytest.raises(UserError, match="validation loss is not finite after step 7"):
        callback.on_train_epoch_end(trainer, None)


def test_the_steps_of_an_epoch_that_ends_early_are_checked(tmp_path):
    callback = StopWhenDiverged(RunFolder(str(tmp_path), "name"))
    trainer = SimpleNamespace(
        callback_metrics={},
        global_step=2,
        log_every_n_steps=50,
        is_last_batch=False,
        optimizers=[SimpleNamespace(param_groups=[{"lr": 0.5}])],
        strategy=SimpleNamespace(reduce=lambda value, reduce_op: value),
    )
    for index, loss in enumerate((1.0, float("inf"))):
        callback.on_train_batch_start(trainer, None, None, index)
        callback.on_train_batch_end(trainer, None, {"loss": torch.tensor(loss)}, None, index)
    with pytest.raises(UserError, match=r"not finite in step 2, at learning rate 0\.5"):
        callback.on_train_epoch_end(trainer, None)
