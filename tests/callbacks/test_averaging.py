"""Averaged weights, compared with the same average in a plain loop."""

import copy

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from torch import nn

from callbacks import EMAWeightAveraging
from callbacks.averaging import NoUntrainedAverage
from datamodules import Digits
from lit_modules import LitClassifier
from models.lenet import LeNet5


class Weights(Callback):
    """The network's own state after each step, and what each validation sees."""

    def __init__(self):
        self.after_steps, self.validated = [], []

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        self.after_steps.append(copy.deepcopy(module.net.state_dict()))

    def on_validation_batch_start(self, trainer, module, batch, batch_idx, dataloader_idx=0):
        if batch_idx == 0:
            self.validated.append(copy.deepcopy(module.net.state_dict()))


def train(tmp_path, averaging, *others, epochs=3, **options):
    """States after each step, of each validation, and of the checkpoint at the end."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 10))
    weights = Weights()
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        callbacks=[averaging, weights, *others],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        **options,
    )
    trainer.fit(LitClassifier(net), Digits(batch_size=256))
    trainer.save_checkpoint(tmp_path / "end.ckpt")
    end = torch.load(tmp_path / "end.ckpt", weights_only=True)["state_dict"]
    end = {name.removeprefix("net."): value for name, value in end.items()}
    return weights.after_steps, weights.validated, end


def average(states, decay=0.999):
    """The average of the states after each step, by the formula of the docstring."""
    mean = copy.deepcopy(states[0])
    for n, state in enumerate(states[1:], 1):
        share = min(decay, (1 + n) / (10 + n))
        for name, value in state.items():
            if value.is_floating_point():
                mean[name] = share * mean[name] + (1 - share) * value
            else:
                mean[name] = value
    return mean


def test_the_average_follows_its_formula(tmp_path):
    after_steps, validated, end = train(tmp_path, EMAWeightAveraging())
    assert len(after_steps) == 15
    for epoch in range(3):
        torch.testing.assert_close(validated[epoch], average(after_steps[: 5 * epoch + 5]))
    torch.testing.assert_close(end, average(after_steps))


def test_the_decay_is_the_limit(tmp_path):
    after_steps, _, end = train(tmp_path, EMAWeightAveraging(decay=0.3), epochs=2)
    torch.testing.assert_close(end, average(after_steps, decay=0.3))


@pytest.mark.parametrize(
    ("options", "averaged"),
    [
        ({"update_starting_at_step": 7}, slice(7, None)),
        ({"update_starting_at_epoch": 2}, slice(10, None)),
        ({"update_every_n_steps": 5}, slice(0, None, 5)),
    ],
)
def test_an_average_that_has_not_begun_is_the_network(tmp_path, options, averaged):
    after_steps, validated, end = train(tmp_path, EMAWeightAveraging(**options))
    begins = averaged.start
    for epoch in range(3):
        steps = 5 * epoch + 5
        expected = after_steps[steps - 1]
        if steps > begins:
            expected = average(after_steps[averaged.start : steps : averaged.step])
        torch.testing.assert_close(validated[epoch], expected)
    torch.testing.assert_close(end, average(after_steps[averaged]))


def test_an_average_that_never_begins_is_the_network(tmp_path):
    after_steps, validated, end = train(tmp_path, EMAWeightAveraging(update_starting_at_step=99))
    torch.testing.assert_close(validated[-1], after_steps[-1], rtol=0, atol=0)
    torch.testing.assert_close(end, after_steps[-1], rtol=0, atol=0)


class Late(WeightAveraging):
    """A user's own average that never begins."""

    def should_update(self, step_idx=None, epoch_idx=None):
        return False


def test_the_users_average_that_never_begins_is_the_network(tmp_path):
    after_steps, validated, end = train(tmp_path, Late(), NoUntrainedAverage())
    torch.testing.assert_close(validated[-1], after_steps[-1], rtol=0, atol=0)
    torch.testing.assert_close(end, after_steps[-1], rtol=0, atol=0)


class PerEpoch(WeightAveraging):
    """An even average of the weights at the end of each epoch, as Lightning documents it."""

    def should_update(self, step_idx=None, epoch_idx=None):
        return epoch_idx is not None


def even(states):
    mean = copy.deepcopy(states[-1])
    for name, value in mean.items():
        if value.is_floating_point():
            mean[name] = torch.stack([state[name] for state in states]).mean(0)
    return mean


def test_an_average_of_epochs_is_validated_as_it_is_saved(tmp_path):
    after_steps, validated, end = train(tmp_path, PerEpoch(), NoUntrainedAverage())
    ends = after_steps[4::5]
    for epoch in range(3):
        found = {name: validated[epoch][name] for name in ("0.weight", "1.running_var")}
        expected = {name: even(ends[: epoch + 1])[name] for name in found}
        torch.testing.assert_close(found, expected)
    assert all(torch.equal(end[name], value) for name, value in validated[-1].items())


class StopInAnEpoch(Callback):
    def on_validation_end(self, trainer, module):
        trainer.should_stop = trainer.current_epoch == 2


def test_an_epoch_that_ends_early_is_validated_as_it_is_saved(tmp_path):
    """It stops at its first validation; after that, no average may change."""
    _, validated, end = train(
        tmp_path, PerEpoch(), StopInAnEpoch(), NoUntrainedAverage(), val_check_interval=1
    )
    assert len(validated) == 5 + 5 + 1
    assert all(torch.equal(end[name], value) for name, value in validated[-1].items())


@pytest.mark.parametrize("kind", [WeightAveraging, EMAWeightAveraging])
def test_statistics_that_are_not_averaged_are_the_networks(tmp_path, kind):
    after_steps, validated, _ = train(tmp_path, kind(use_buffers=False), NoUntrainedAverage())
    for name in ("1.running_mean", "1.running_var", "1.num_batches_tracked"):
        assert torch.equal(validated[-1][name], after_steps[-1][name])
    assert not torch.equal(validated[-1]["0.weight"], after_steps[-1]["0.weight"])


@pytest.mark.parametrize("options", [{"decay": 1.1}, {"update_every_n_steps": 0}])
def test_a_value_out_of_range_is_refused(options):
    with pytest.raises(ValueError, match=f"{next(iter(options))} must be"):
        EMAWeightAveraging(**options)


def test_a_test_from_python_uses_the_average_in_the_checkpoint(tmp_path):
    """Also with `ckpt_path`, which restores the state of callbacks."""
    options = {
        **{"accelerator": "cpu", "logger": False, "enable_progress_bar": False},
        **{"enable_model_summary": False, "max_epochs": 1},
    }
    module = LitClassifier(LeNet5("tanh"))
    data = Digits(batch_size=64, image_size=28)
    trainer = Trainer(callbacks=[EMAWeightAveraging()], default_root_dir=tmp_path, **options)
    trainer.fit(module, data)
    path = trainer.checkpoint_callback.best_model_path
    (by_path,) = trainer.test(module, data, ckpt_path=path, weights_only=True, verbose=False)
    state = torch.load(path, weights_only=True)["state_dict"]
    alone = LitClassifier(LeNet5("tanh"))
    alone.load_state_dict(state)
    (expected,) = Trainer(**options).test(alone, data, verbose=False)
    assert by_path == expected
    fresh = LitClassifier(LeNet5("tanh"))
    module.load_state_dict(fresh.state_dict())
    (of_fresh,) = trainer.validate(module, data, verbose=False)
    assert of_fresh["val/acc"] < 0.3  # untrained, not the earlier average
