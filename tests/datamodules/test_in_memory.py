"""The batch pipeline, against torchvision's path through PIL."""

import gzip
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer, seed_everything
from torch import nn
from torchvision import datasets, transforms

from datamodules import MNIST, DatasetError, Digits, FashionMNIST
from lit_modules import LitClassifier
from models.lenet import LeNet5


@pytest.fixture
def extracted_root(data_root, tmp_path):
    """The test images of Fashion-MNIST as torchvision wants them."""
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for file in (Path(data_root) / "FashionMNIST" / "raw").glob("*.gz"):
        (raw / file.stem).write_bytes(gzip.decompress(file.read_bytes()))
    return tmp_path


@pytest.mark.parametrize(("size", "gray_levels"), [(28, 0.01), (224, 1.01)])
def test_the_same_pixels_as_torchvision_with_pil(data_root, extracted_root, size, gray_levels):
    data = FashionMNIST(root=data_root, image_size=size)
    data.setup("test")
    images, labels = next(iter(data.test_dataloader()))
    ours = data.preparation(images.float() / 255)
    to_size = [transforms.Resize((size, size))] if size != 28 else []
    transform = transforms.Compose(
        [*to_size, transforms.ToTensor(), transforms.Normalize(data.mean, data.std)]
    )
    reference = datasets.FashionMNIST(extracted_root, train=False, transform=transform)
    theirs, their_labels = zip(*(reference[i] for i in range(len(labels))), strict=True)
    assert labels.tolist() == list(their_labels)
    # PIL rounds to whole gray levels, once in each direction.
    difference = 255 * data.std * (ours - torch.stack(theirs)).abs().max()
    assert difference <= gray_levels


def test_mnist_is_split_as_promised(data_root):
    splits = {}
    for seed in (1, 2):  # of the run: the splits do not depend on it
        seed_everything(seed)
        data = MNIST(root=data_root)
        data.setup("fit")
        data.setup("test")
        splits[seed] = data.splits
    for name, size in (("train", 55_000), ("val", 5_000), ("test", 10_000)):
        first, second = splits[1][name], splits[2][name]
        assert first.images.shape == (size, 1, 28, 28)
        assert first.images.dtype == torch.uint8
        assert first.labels.dtype == torch.int64
        assert torch.equal(first.images, second.images)
        assert torch.equal(first.labels, second.labels)
    counts = {name: split.labels.bincount() for name, split in splits[1].items()}
    shares = 5_000 * (counts["train"] + counts["val"]) / 60_000
    assert ((counts["val"] - shares).abs() < 1).all()
    # Together the published training images: disjoint and complete.
    published = datasets_bytes(data_root, "train-images-idx3-ubyte.gz")
    both = torch.cat([splits[1]["train"].images, splits[1]["val"].images])
    assert sorted(map(bytes, both.numpy())) == sorted(map(bytes, published.numpy()))


def datasets_bytes(data_root, name):
    content = gzip.decompress((Path(data_root) / "MNIST" / "raw" / name).read_bytes())
    return torch.frombuffer(bytearray(content[16:]), dtype=torch.uint8).view(-1, 1, 28, 28)


@pytest.mark.parametrize("dataset", [MNIST, FashionMNIST])
def test_normalisation_constants_are_those_of_the_pixels(data_root, dataset):
    data = dataset(root=data_root)
    data.setup("fit")
    check_normalised(data)


def test_digits_need_no_files_and_are_stratified():
    data = Digits()
    data.prepare_data()
    data.setup("fit")
    data.setup("test")
    check_normalised(data)
    sizes = {name: len(split.labels) for name, split in data.splits.items()}
    assert sizes == {"train": 1257, "val": 180, "test": 360}
    for split in data.splits.values():
        counts = split.labels.bincount()
        assert counts.max() - counts.min() <= 8
        assert split.images.max() == 255


def check_normalised(data):
    pixels = data.splits["train"].images.float() / 255
    assert pixels.mean().item() == pytest.approx(data.mean, abs=1e-4)
    assert pixels.std().item() == pytest.approx(data.std, abs=1e-4)


def test_a_gray_channel_is_repeated_when_asked():
    data = Digits(channels=3)
    images = data.preparation(torch.rand(2, 1, 8, 8))
    assert images.shape == (2, 3, 8, 8)
    assert torch.equal(images[:, 0], images[:, 2])


class Batches(LitClassifier):
    """Keeps the images that it is given."""

    def __init__(self):
        super().__init__(LeNet5("tanh"))
        self.seen = {"train": [], "val": []}

    def training_step(self, batch, batch_idx):
        self.seen["train"].append(batch[0])
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch, batch_idx):
        self.seen["val"].append(batch[0])


class Darken(nn.Module):
    def forward(self, images):
        assert images.dtype == torch.float32
        assert images.shape[-2:] == (8, 8)  # at the dataset's own size
        assert 0 <= images.min() <= images.max() <= 1
        return images * 0


def test_augmentation_is_for_training_only():
    data, module = Digits(image_size=28, augment=[Darken()]), Batches()
    Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    ).fit(module, data)
    black = -data.mean / data.std
    assert all((images - black).abs().max() < 1e-6 for images in module.seen["train"])
    assert all(images.max() > 1 for images in module.seen["val"])


@pytest.mark.parametrize("option", [{"batch_size": 0}, {"image_size": 0}, {"image_size": -3}])
def test_a_value_out_of_range_is_refused(option):
    with pytest.raises(ValueError, match=f"{next(iter(option))} must be at least 1"):
        Digits(**option)


def test_missing_files_name_the_file_the_folder_and_the_way_out(tmp_path):
    class Offline(MNIST):
        mirrors = ("http://127.0.0.1:9/",)

    with pytest.raises(DatasetError, match=r"train-images.*missing.*configs/quickstart.yaml"):
        Offline(root=str(tmp_path)).prepare_data()
