"""Data modules: verify and load a dataset, and make its batches on the device."""

from datamodules.digits import Digits
from datamodules.idx import Idx
from datamodules.image_folder import ImageFolder
from datamodules.in_memory import InMemoryDataModule, Split
from datamodules.mnist import MNIST, FashionMNIST
from datamodules.published_files import DatasetError
from datamodules.torchvision_datasets import Torchvision

__all__ = [
    "MNIST",
    "DatasetError",
    "Digits",
    "FashionMNIST",
    "Idx",
    "ImageFolder",
    "InMemoryDataModule",
    "Split",
    "Torchvision",
]
