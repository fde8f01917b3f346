from functools import partial

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

from lit_modules import LitClassifier, Schedules, WarmupCosine
from models.lenet import LeNet5


def learning_rates(max_epochs, schedule, batches=10):
    """The learning rate of each step of a training, as Lightning's fit loop sets it."""
    from lightning.pytorch import Trainer
    from torch.utils.data import DataLoader, TensorDataset

    rates = []

    class Recorder(LitClassifier):
        def on_train_batch_end(self, *args):
            pass

        def training_step(self, batch, batch_idx):
            rates.append(self.trainer.optimizers[0].param_groups[0]["lr"])
            return super().training_step(batch, batch_idx)

    data = DataLoader(TensorDataset(torch.randn(batches, 4), torch.zeros(batches).long()))
    module = Recorder(nn.Linear(4, 10), lambda p: torch.optim.SGD(p, lr=2.0), schedule=schedule)
    trainer = Trainer(
        max_epochs=max_epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, data)
    return rates


@pytest.mark.parametrize("max_epochs", [2, 5])
def test_warmup_and_cosine_span_any_number_of_epochs(max_epochs):
    rates = learning_rates(max_epochs, WarmupCosine(warmup=0.2))
    steps = 10 * max_epochs
    assert len(rates) == steps
    peak = rates.index(max(rates))
    assert rates[peak] == pytest.approx(2.0, rel=0.02)
    assert peak in (steps // 5, steps // 5 - 1)
    assert rates[:peak] == sorted(rates[:peak])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert rates[0] > 0  # no step is wasted
    assert 0 < rates[-1] < 0.02


def test_cosine_without_warmup_ends_at_its_end_factor():
    schedule = WarmupCosine(warmup=0.0, end=0.25)
    assert schedule(0.0) == 1.0
    assert schedule(0.5) == pytest.approx(0.625)
    assert schedule(1.0) == pytest.approx(0.25)


def test_schedulers_of_torch_step_after_each_epoch():
    rates = learning_rates(3, lambda o: torch.optim.lr_scheduler.StepLR(o, step_size=1, gamma=0.1))
    assert rates == pytest.approx([2.0] * 10 + [0.2] * 10 + [0.02] * 10)


STEP_LR = partial(lr_scheduler.StepLR, step_size=5)
ONE_CYCLE = partial(lr_scheduler.OneCycleLR, max_lr=0.1, total_steps=20)


@pytest.mark.parametrize(
    ("schedules", "milestones", "wrong"),
    [
        ([STEP_LR, STEP_LR], [], "one fewer than the 2"),
        ([STEP_LR, STEP_LR], [0], "positive and increase"),
        ([STEP_LR, STEP_LR, STEP_LR], [9, 9], "positive and increase"),
        ([STEP_LR, STEP_LR], [100], "not before the end, after 100 steps"),
        ([ONE_CYCLE, STEP_LR], [30], "set total_steps to 30"),
        ([STEP_LR, ONE_CYCLE], [30], "set total_steps to 70"),
        ([STEP_LR, lr_scheduler.ReduceLROnPlateau], [30], "only schedule"),
    ],
)
def test_a_sequence_that_does_not_fit_is_refused(schedules, milestones, wrong):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    with pytest.raises(ValueError, match=wrong):
        Schedules(schedules, milestones).build(optimizer, 100)


def test_a_training_without_an_end_needs_another_schedule():
    module = LitClassifier(LeNet5("tanh"), schedule=WarmupCosine())
    with pytest.raises(ValueError, match="set max_epochs or max_steps"):
        module.build_scheduler(module.build_optimizer(), float("inf"), -1)
