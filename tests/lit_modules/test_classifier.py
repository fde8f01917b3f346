import copy
import shutil

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from datamodules import Digits
from lit_modules import LitClassifier
from models.lenet import LeNet5


def fit(module, data=None, **options):
    trainer = Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **({"max_epochs": 1} | options),
    )
    trainer.fit(module, data or Digits(batch_size=64, image_size=28))
    return trainer


def test_weight_decay_leaves_biases_and_norms_alone():
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.LazyLinear(10))
    net(torch.zeros(1, 1, 8, 8))
    before = copy.deepcopy(net)
    module = LitClassifier(net, lambda p: torch.optim.SGD(p, lr=0.1, weight_decay=0.5))
    optimizer = module.configure_optimizers()["optimizer"]
    for parameter in net.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, parameter in net.named_parameters():
        factor = 0.95 if name in ("0.weight", "3.weight") else 1.0
        torch.testing.assert_close(parameter.data, before.get_parameter(name).data * factor)


def test_frozen_parameters_do_not_move():
    net = LeNet5("tanh")
    net.c1.requires_grad_(False)
    before = net.c1.weight.clone()
    fit(LitClassifier(net), max_steps=3)
    assert torch.equal(net.c1.weight, before)


def test_metrics_are_exact_means_over_samples():
    """For each epoch, on batches of unequal size, compared with one pass over the whole split."""
    torch.manual_seed(0)
    module = LitClassifier(LeNet5("tanh"), optimizer=lambda p: torch.optim.SGD(p, lr=0.0))
    data = Digits(batch_size=70, image_size=28)  # 180 validation images: 70, 55 and 55
    trainer = fit(module, data, max_epochs=2)
    module.eval()
    for split in ("train", "val"):
        images = data.preprocessing(data.splits[split].images.float() / 255)
        labels = data.splits[split].labels
        with torch.no_grad():
            logits = module(images)
        loss = nn.functional.cross_entropy(logits, labels)
        accuracy = (logits.argmax(1) == labels).double().mean()
        assert trainer.callback_metrics[f"{split}/loss"].item() == pytest.approx(loss.item(), 1e-6)
        assert trainer.callback_metrics[f"{split}/acc"] == accuracy


def test_training_metrics_are_those_of_their_epoch_alone():
    class Losses(Callback):
        def on_train_epoch_start(self, trainer, module):
            self.sum = 0.0

        def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
            self.sum += outputs["loss"].item() * len(batch[1])

    losses = Losses()
    data = Digits(batch_size=70, image_size=28)
    trainer = fit(LitClassifier(LeNet5("tanh")), data, max_epochs=3, callbacks=[losses])
    mean = losses.sum / len(data.splits["train"].labels)
    assert trainer.callback_metrics["train/loss"].item() == pytest.approx(mean)


def test_label_smoothing_is_for_training_only():
    module = LitClassifier(LeNet5(), label_smoothing=0.2)
    logits, labels = torch.randn(8, 10), torch.arange(8)
    expected = 0.8 * nn.functional.cross_entropy(logits, labels) - 0.2 * (
        logits.log_softmax(1).mean()
    )
    torch.testing.assert_close(module.loss(logits, labels), expected)
    data = Digits(batch_size=180, image_size=28)
    trainer = fit(module, data, limit_train_batches=1)
    images = data.preprocessing(data.splits["val"].images.float() / 255)
    module.eval()
    plain = nn.functional.cross_entropy(module(images), data.splits["val"].labels)
    assert trainer.callback_metrics["val/loss"].item() == pytest.approx(plain.item(), 1e-6)


def test_a_module_built_in_python_trains_saves_and_loads(tmp_path):
    net = LeNet5("relu")
    module = LitClassifier(net, lambda p: torch.optim.SGD(p, lr=0.1), label_smoothing=0.1)
    trainer = fit(module)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    (tmp_path / "elsewhere").mkdir()
    path = shutil.move(tmp_path / "a.ckpt", tmp_path / "elsewhere" / "b.ckpt")
    torch.load(path, weights_only=True)  # plain data
    with pytest.raises(ValueError, match="built in Python"):
        LitClassifier.load_from_checkpoint(path)
    loaded = LitClassifier.load_from_checkpoint(path, net=LeNet5("relu"), weights_only=True)
    assert loaded.label_smoothing == 0.1
    images = torch.randn(5, 1, 28, 28)
    torch.testing.assert_close(loaded.eval()(images), module.eval()(images), rtol=0, atol=0)


class WithItsNet(LitClassifier):
    def __init__(self, activation="tanh"):
        super().__init__(LeNet5(activation))
        self.save_hyperparameters()


def test_a_module_that_makes_its_network_itself_loads_without_it(tmp_path):
    fit(module := WithItsNet("relu")).save_checkpoint(tmp_path / "a.ckpt")
    loaded = WithItsNet.load_from_checkpoint(tmp_path / "a.ckpt")
    images = torch.randn(5, 1, 28, 28)
    torch.testing.assert_close(loaded.eval()(images), module.eval()(images), rtol=0, atol=0)


def test_weights_alone_are_no_checkpoint_of_a_training(tmp_path):
    torch.save(LeNet5().state_dict(), tmp_path / "w.pt")
    with pytest.raises(ValueError, match="no checkpoint of a training"):
        LitClassifier.load_from_checkpoint(tmp_path / "w.pt", net=LeNet5())


@pytest.mark.parametrize("precision", ["32-true", "bf16-true", "16-true", "64-true", "bf16-mixed"])
def test_images_of_another_data_module_are_tested_in_any_precision(precision):
    """Lightning converts the module to that precision, but the test is in 32 bits."""
    torch.manual_seed(0)
    images, labels = torch.randn(96, 1, 28, 28), torch.randint(10, (96,))
    net = LeNet5("tanh")
    plain = copy.deepcopy(net)
    if precision.endswith("16-true"):  # the weights, rounded to the precision
        plain = plain.to(torch.bfloat16 if "bf16" in precision else torch.float16).float()
    trainer = Trainer(
        **{"accelerator": "cpu", "logger": False, "enable_progress_bar": False},
        precision=precision,
    )
    data = DataLoader(TensorDataset(images, labels), 32)
    (found,) = trainer.test(LitClassifier(net), data, verbose=False)
    with torch.no_grad():
        expected = F.cross_entropy(plain(images), labels).item()
    rounding = 1e-2 if precision.endswith("16-true") else 1e-6  # of the images
    assert found["test/loss"] == pytest.approx(expected, rel=rounding)


def test_a_large_loss_in_16_bits_does_not_overflow():
    module = LitClassifier(LeNet5())
    logits, labels = torch.zeros(30_000, 10), torch.zeros(30_000, dtype=torch.long)
    module._update("val", torch.tensor(2.25, dtype=torch.float16), logits, labels)
    assert module.metrics["val/loss"].compute() == 2.25


@pytest.mark.parametrize("value", [-0.1, 1.0])
def test_label_smoothing_out_of_range_is_refused(value):
    with pytest.raises(ValueError, match="label_smoothing must be in"):
        LitClassifier(LeNet5(), label_smoothing=value)


def test_a_learning_rate_that_the_optimizer_refuses_is_refused_at_once():
    with pytest.raises(ValueError, match="learning rate"):
        LitClassifier(LeNet5(), lambda p: torch.optim.SGD(p, lr=-1.0))


def test_an_epoch_that_ends_early_has_the_metrics_of_its_batches():
    class Stop(Callback):
        def __init__(self):
            self.losses = {}

        def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
            epoch = self.losses.setdefault(trainer.current_epoch, [])
            epoch.append(outputs["loss"].item())

        def on_validation_end(self, trainer, module):
            trainer.should_stop = trainer.global_step == 8  # five batches, and three

    stop = Stop()
    trainer = fit(
        LitClassifier(LeNet5("tanh")),
        Digits(batch_size=256, image_size=28),
        max_epochs=3,
        val_check_interval=0.2,
        callbacks=[stop],
    )
    assert len(stop.losses[1]) == 3
    mean = sum(stop.losses[1]) / 3
    assert trainer.callback_metrics["train/loss"].item() == pytest.approx(mean, rel=1e-6)


def test_max_steps_keep_the_metrics_of_the_trained_batches():
    data = Digits(batch_size=256, image_size=28)
    module = LitClassifier(LeNet5("tanh"), lambda p: torch.optim.SGD(p, lr=0.0))
    trainer = fit(module, data, max_steps=2, max_epochs=-1)
    seen = list(data.train_dataloader())[:2]  # of the first epoch, in the same order
    images, labels = map(torch.cat, zip(*seen, strict=True))
    with torch.no_grad():
        right = module(data.preprocessing(images.float() / 255)).argmax(1) == labels
    assert trainer.callback_metrics["train/acc"] == right.double().mean()


def test_an_interrupted_epoch_does_not_affect_the_next():
    class Interrupt(Callback):
        def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
            if batch_idx == 2:
                raise ZeroDivisionError

    module = LitClassifier(LeNet5("tanh"), lambda p: torch.optim.SGD(p, lr=0.0))
    data = Digits(batch_size=256, image_size=28)
    with pytest.raises(ZeroDivisionError):
        fit(module, data, callbacks=[Interrupt()])
    seen = []

    class Count(Callback):
        def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
            seen.append(int(module.metrics["train/acc"].samples))

    fit(module, data, callbacks=[Count()])
    assert seen[-1] == 1257


def test_an_epoch_without_validation_has_no_metrics_of_an_earlier_one():
    class Seen(Callback):
        def __init__(self):
            self.epochs = {}

        def on_train_epoch_end(self, trainer, module):
            self.epochs[trainer.current_epoch] = set(trainer.callback_metrics)

    class StopInTheThird(Callback):
        def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
            trainer.should_stop = trainer.current_epoch == 2

    train = {"train/loss", "train/acc"}
    for callbacks in ([], [StopInTheThird()]):
        seen = Seen()
        fit(
            LitClassifier(LeNet5("tanh")),
            max_epochs=3,
            check_val_every_n_epoch=2,
            callbacks=[seen, *callbacks],
        )
        assert seen.epochs == {0: train, 1: train | {"val/loss", "val/acc"}, 2: train}


def test_the_users_loss_is_used_in_training_validation_and_test():
    class Squared(LitClassifier):
        def loss(self, output, labels):
            return (output - nn.functional.one_hot(labels, 10)).square().mean()

    module = Squared(LeNet5("tanh"), lambda p: torch.optim.SGD(p, lr=0.0))
    data = Digits(batch_size=100, image_size=28)
    trainer = fit(module, data)
    figures = dict(trainer.callback_metrics)
    figures |= trainer.test(module, data, verbose=False)[0]
    module.eval()
    for split in ("train", "val", "test"):
        images = data.preprocessing(data.splits[split].images.float() / 255)
        with torch.no_grad():
            loss = module.loss(module(images), data.splits[split].labels).item()
        assert float(figures[f"{split}/loss"]) == pytest.approx(loss, rel=1e-6)


@pytest.mark.parametrize("accumulated", [2, 3, 6])
def test_accumulated_batches_take_the_steps_of_a_plain_loop_over_whole_ones(accumulated):
    """Also the last two of an epoch, 128 and 127 images, which differ in size."""
    data = Digits(batch_size=300, image_size=28)
    torch.manual_seed(0)
    plain = LeNet5("tanh")
    module = LitClassifier(copy.deepcopy(plain), lambda p: torch.optim.SGD(p, lr=0.1))
    rates = []

    class Rates(Callback):
        def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
            rates.append((trainer.global_step, len(batch[1])))

    fit(module, data, max_epochs=2, accumulate_grad_batches=accumulated, callbacks=[Rates()])
    assert rates[-1][0] == 10  # 1257 images are five steps an epoch
    assert max(size for _, size in rates) == 300 / accumulated
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.1)
    alone = Digits(batch_size=300, image_size=28)
    alone.setup("fit")
    for epoch in range(2):
        loader = alone.train_dataloader()
        loader.sampler.set_epoch(epoch)
        for images, labels in loader:
            optimizer.zero_grad()
            nn.functional.cross_entropy(
                plain(alone.preprocessing(images.float() / 255)), labels
            ).backward()
            optimizer.step()
    for ours, theirs in zip(module.net.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
