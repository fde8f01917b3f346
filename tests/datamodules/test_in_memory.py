"""The batch pipeline, compared with torchvision's transforms of PIL images."""

import gzip
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer, seed_everything
from torch import nn
from torchvision import datasets, transforms

from datamodules import MNIST, DatasetError, Digits, FashionMNIST
from datamodules.batches import Split
from lit_modules import LitClassifier
from models.lenet import LeNet5


@pytest.fixture
def extracted_root(data_root, tmp_path):
    """The test images of Fashion-MNIST in torchvision's form."""
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
    ours = data.preprocessing(images.float() / 255)
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
    for seed in (1, 2):  # the run's seed: the splits do not depend on it
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
    # Together they are the published training images: disjoint and complete.
    published = datasets_bytes(data_root, "train-images-idx3-ubyte.gz")
    both = torch.cat([splits[1]["train"].images, splits[1]["val"].images])
    assert sorted(map(bytes, both.numpy())) == sorted(map(bytes, published.numpy()))


def datasets_bytes(data_root, name):
    content = gzip.decompress((Path(data_root) / "MNIST" / "raw" / name).read_bytes())
    return torch.frombuffer(bytearray(content[16:]), dtype=torch.uint8).view(-1, 1, 28, 28)


@pytest.mark.parametrize("dataset", [MNIST, FashionMNIST])
def test_normalisation_constants_equal_those_of_the_pixels(data_root, dataset):
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


def test_a_gray_channel_is_repeated_for_three_channels():
    data = Digits(channels=3)
    images = data.preprocessing(torch.rand(2, 1, 8, 8))
    assert images.shape == (2, 3, 8, 8)
    assert torch.equal(images[:, 0], images[:, 2])


class Batches(LitClassifier):
    """Records the images that it gets."""

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


SOUND = (torch.zeros(8, 1, 8, 8, dtype=torch.uint8), torch.arange(8))
BROKEN_SPLITS = {
    "float images": ((SOUND[0] / 255, SOUND[1]), ["images", "float32 (8, 1, 8, 8)", "uint8"]),
    "no channels": ((SOUND[0][:, 0], SOUND[1]), ["images", "uint8 (8, 8, 8)", "(N, 1, 8, 8)"]),
    "another size": ((SOUND[0][..., 1:], SOUND[1]), ["images", "uint8 (8, 1, 8, 7)"]),
    "labels from 1": ((SOUND[0], SOUND[1] + 3), ["labels", "from 3 to 10", "10 classes"]),
    "labels below 0": ((SOUND[0], SOUND[1] - 1), ["labels", "from -1 to 6"]),
    "int32 labels": ((SOUND[0], SOUND[1].int()), ["labels", "int32 (8,)", "int64 (8,)"]),
    "fewer labels": ((SOUND[0], SOUND[1][1:]), ["labels", "int64 (7,)", "int64 (8,)"]),
    "labels of one column": ((SOUND[0], SOUND[1][:, None]), ["labels", "int64 (8, 1)"]),
    "none": ((SOUND[0][:0], SOUND[1][:0]), ["labels", "int64 (0,)", "not none"]),
    "colours": (
        (SOUND[0].expand(-1, 3, -1, -1), SOUND[1]),
        ["images", "3 channels", "channels is 1"],
    ),
    "a list": ([SOUND[0], SOUND[1]], ["no {last} images", "dict of Splits"]),
    "arrays": ((SOUND[0].numpy(), SOUND[1].numpy()), ["no {last} images", "dict of Splits"]),
    "images alone": ((SOUND[0],), ["no {last} images", "dict of Splits"]),
}


@pytest.mark.parametrize("stage", ["fit", "test"])
@pytest.mark.parametrize("kind", BROKEN_SPLITS)
def test_invalid_images_and_labels_are_reported_before_the_training(kind, stage, monkeypatch):
    split, named = BROKEN_SPLITS[kind]
    last = "val" if stage == "fit" else "test"
    monkeypatch.setattr(Digits, "load", lambda self, stage: {"train": Split(*SOUND), last: split})
    with pytest.raises(DatasetError) as raised:
        Digits().setup(stage)
    for word in [last, "Digits", *named]:
        assert word.format(last=last) in str(raised.value)


def test_splits_have_their_names(monkeypatch):
    monkeypatch.setattr(Digits, "load", lambda self, stage: {"train": Split(*SOUND)})
    with pytest.raises(DatasetError, match="Digits has no val images"):
        Digits().setup("fit")


class Halved(nn.Module):
    def forward(self, images):
        return images[::2]


class DividedByItself(nn.Module):
    def forward(self, images):
        return images / images


class Fourier(nn.Module):
    def forward(self, images):
        return torch.fft.fft2(images)


BROKEN_AUGMENTATIONS = {
    "flat": (nn.Flatten(), "makes float32 (2, 64)"),
    "not finite": (DividedByItself(), "NaN or infinite"),
    "fewer images": (Halved(), "as many images"),
    "a tuple": (nn.MaxPool2d(2, return_indices=True), "a tuple"),
    "complex": (Fourier(), "complex64"),
    "colours": (nn.Conv2d(1, 3, 1), "(2, 3, 8, 8)"),
    "of vectors": (nn.Linear(3, 3), "does not take images (2, 1, 8, 8)"),
    "of integers": (nn.Embedding(3, 3), "does not take images"),
    "of several": (nn.Bilinear(3, 3, 3), "does not take images"),
}


@pytest.mark.parametrize("kind", BROKEN_AUGMENTATIONS)
def test_an_augmentation_that_breaks_the_batch_is_refused_before_the_training(kind):
    augmentation, named = BROKEN_AUGMENTATIONS[kind]
    with pytest.raises(DatasetError, match="augment") as raised:
        Digits(augment=[augmentation]).setup("fit")
    assert named in str(raised.value)


class Counting(nn.Module):
    """Draws random numbers, and counts its calls."""

    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, images):
        self.calls += 1
        images += torch.rand_like(images)
        return images.clamp(0, 1)[..., :7, :7]  # another size is allowed: it is resized


def test_the_check_of_an_augmentation_changes_nothing():
    seed_everything(1)
    data = Digits(augment=[augmentation := Counting()])
    data.setup("fit")
    assert augmentation.calls == 0
    drawn = torch.rand(1)
    seed_everything(1)
    assert torch.equal(drawn, torch.rand(1))
    untouched = Digits()
    untouched.setup("fit")
    assert torch.equal(data.splits["train"].images, untouched.splits["train"].images)
