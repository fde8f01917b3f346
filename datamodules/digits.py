"""Handwritten digits bundled with scikit-learn: no download."""

from typing import Literal

import torch

from datamodules.batches import Split, stratified_split
from datamodules.in_memory import InMemoryDataModule


class Digits(InMemoryDataModule):
    """The test set of UCI's optical digits: 1,797 real digits, 8 x 8, 17 gray levels.

    1,257 training, 180 validation and 360 test images, stratified by class.

    Source: Alpaydin and Kaynak 1998, https://doi.org/10.24432/C50P49
    """

    name = "Digits"
    classes = tuple("0123456789")
    mean = 0.3060
    std = 0.3762
    native_size = 8
    shows = "digits"

    def load(self, stage: Literal["fit", "test"]) -> dict[str, Split]:
        from sklearn.datasets import load_digits  # slow to import, only used here

        data = load_digits()
        images = torch.from_numpy(data.images).mul(255 / 16).round().to(torch.uint8)
        everything = Split(images.unsqueeze(1), torch.from_numpy(data.target).long())
        rest, test = stratified_split(everything, held_out=360, seed=0)
        if stage == "test":
            return {"test": test}
        train, val = stratified_split(rest, held_out=180, seed=0)
        return {"train": train, "val": val}
