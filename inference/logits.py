"""Computes the logits of images in batches."""

import torch
from torch import Tensor

from datamodules import InMemoryDataModule
from lit_modules import LitClassifier

BATCH = 128  # images on the device at a time


@torch.no_grad()
def compute_logits(classifier: LitClassifier, data: InMemoryDataModule, images: Tensor) -> Tensor:
    """Computes logits of images in batches, in 32 bits, on the network's device.

    Shapes:
        images uint8 (N, C, H, W) of the dataset's native size -> float (N, num_classes) on the CPU
    """
    device = next(classifier.parameters()).device
    batches = images.split(BATCH)
    preprocessing = data.preprocessing.to(device)
    preprocessed = (preprocessing(batch.to(device).float() / 255) for batch in batches)
    return torch.cat([classifier(batch).cpu() for batch in preprocessed])
