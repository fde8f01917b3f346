"""Trains, validates, tests and predicts on two processes, as a user would from Python.

Writes down the labels, which number the images, that each process has been given.
"""

import json
from collections import defaultdict
from pathlib import Path

import torch
from lightning.pytorch import LightningModule, Trainer

from datamodules import InMemoryDataModule, Split

SIZES = {"train": 101, "val": 37, "test": 35}
BATCH = 12
TRAINERS = {
    "plain": {},
    "without Lightning's samplers": {"use_distributed_sampler": False},
    "accumulating": {"accumulate_grad_batches": 3},
    "overfitting": {"overfit_batches": 2},
    "trying": {"fast_dev_run": True},
}


class Numbers(InMemoryDataModule):
    """Images whose labels are their indices."""

    name = "Numbers"
    classes = tuple(map(str, range(max(SIZES.values()))))
    mean, std, native_size = 0.0, 1.0, 2

    def load(self, stage):
        return {
            name: Split(torch.zeros(size, 1, 2, 2, dtype=torch.uint8), torch.arange(size))
            for name, size in SIZES.items()
        }


class Seen(LightningModule):
    """Records the labels of its batches, one list per epoch of a stage."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)
        self.seen = defaultdict(list)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def on_train_epoch_start(self):
        self.seen["train"].append([])

    def on_validation_epoch_start(self):
        self.seen["val"].append([])

    def on_test_epoch_start(self):
        self.seen["test"].append([])

    def on_predict_epoch_start(self):
        self.seen["predict"].append([])

    def step(self, stage, batch):
        images, labels = batch
        self.seen[stage][-1].append(labels.tolist())
        return self.layer(images.flatten(1)).sum()

    def training_step(self, batch, batch_idx):
        return self.step("train", batch)

    def validation_step(self, batch, batch_idx):
        self.step("val", batch)

    def test_step(self, batch, batch_idx):
        self.step("test", batch)

    def predict_step(self, batch, batch_idx):
        return self.step("predict", batch)


def main():
    for name, options in TRAINERS.items():
        module, data = Seen(), Numbers(batch_size=BATCH)
        trainer = Trainer(
            **{"accelerator": "cpu", "devices": 2, "strategy": "ddp", "max_epochs": 2},
            **{"logger": False, "enable_checkpointing": False, "num_sanity_val_steps": 0},
            **{"enable_progress_bar": False, "enable_model_summary": False},
            **options,
        )
        trainer.fit(module, data)
        trainer.validate(module, data, verbose=False)
        trainer.test(module, data, verbose=False)
        trainer.predict(module, data)
        Path(f"{name}.{trainer.global_rank}.json").write_text(
            json.dumps(module.seen), encoding="utf-8"
        )


if __name__ == "__main__":
    main()
