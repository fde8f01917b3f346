"""The sizes of the images that a network sees from epoch to epoch, counted by hand."""

import pytest
import torch
from lightning.pytorch import Callback, Trainer

from callbacks import GrowingImages
from datamodules import Digits
from lit_modules import LitClassifier
from models.resnet import resnet18
from tests.conftest import QUICKSTART, assert_one_line


class Sizes(Callback):
    """The side of the images of the first batch of each epoch, and their mean."""

    def __init__(self):
        self.train, self.val, self.test = [], [], []

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        assert batch[0].shape[-2] == batch[0].shape[-1]
        if batch_idx == 0:
            self.train.append(batch[0].shape[-1])

    def on_validation_batch_start(self, trainer, module, batch, batch_idx, dataloader_idx=0):
        self.val.append(batch[0].shape[-1])

    def on_test_batch_start(self, trainer, module, batch, batch_idx, dataloader_idx=0):
        self.test.append(batch[0].shape[-1])


@pytest.mark.parametrize(
    ("start", "until", "multiple", "full", "sizes"),
    [
        # 32, 37.3, 42.7, 48, 53.3, 58.7 rounded down to eights, then all of it
        (32, 0.75, 8, 64, [32, 32, 40, 48, 48, 56, 64, 64]),
        (32, 1.0, 16, 64, [32, 32, 32, 32, 48, 48, 48, 48]),
        (30, 0.5, 16, 50, [30, 32, 32, 32, 50, 50, 50, 50]),  # 30, 35, 40, 45
        (20, 0.0, 16, 50, [50] * 8),
    ],
)
def test_images_grow_in_training_alone(start, until, multiple, full, sizes):
    callback, seen = GrowingImages(start, until, multiple), Sizes()
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=8,
        limit_train_batches=2,
        limit_val_batches=1,
        val_check_interval=0.5,  # also in the middle of an epoch
        limit_test_batches=1,
        callbacks=[callback, seen],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=1,
    )
    module, data = LitClassifier(resnet18()), Digits(batch_size=4, image_size=full)
    trainer.fit(module, data)
    trainer.test(module, data, verbose=False)
    assert seen.train == sizes
    assert set(seen.val) == {full}
    assert seen.test == [full]


def test_small_images_are_the_same_images():
    data = Digits(image_size=64)
    data.setup("fit")
    images = data.splits["train"].images[:8]
    data.train_image_size = 32
    small = data.prepare_images(images, is_training=True)
    assert torch.equal(small, Digits(image_size=32).prepare_images(images, is_training=False))


@pytest.mark.parametrize(
    "wrong", [{"start": 0}, {"start": 8, "until": 1.5}, {"start": 8, "multiple": 0}]
)
def test_wrong_values_are_refused(wrong):
    with pytest.raises(ValueError, match="must be"):
        GrowingImages(**wrong)


@pytest.mark.parametrize(
    ("net", "start", "named"),
    [
        ("models.resnet.resnet18", 80, ("80 x 80", "data.image_size is 72")),
        ("models.nin.NiN", 32, ("32 x 32", "NiN takes 67 and more")),
    ],
)
def test_a_start_that_cannot_be_gets_one_line(train, net, start, named):
    ended = train(
        *("--config", QUICKSTART, "--model.net", net, "--data.image_size", 72),
        *("--trainer.callbacks", "callbacks.GrowingImages", "--trainer.callbacks.start", start),
    )
    assert_one_line(ended, named)
