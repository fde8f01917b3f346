"""Torchvision's datasets, compared with torchvision itself and with ours."""

import gzip
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import UnidentifiedImageError
from torchvision import datasets

from datamodules import MNIST, DatasetError, FashionMNIST, Torchvision, torchvision_datasets
from inference.loading import load
from tests.conftest import QUICKSTART, assert_one_line

FAKE = {"size": 60, "image_size": [3, 32, 32], "num_classes": 3}


def loaded(data):
    data.prepare_data()
    data.setup("fit")
    data.setup("test")
    return data


@pytest.mark.slow
@pytest.mark.parametrize("ours", [MNIST, FashionMNIST])
def test_the_same_tensors_as_our_own(data_root, tmp_path, ours):
    raw = tmp_path / ours.name / "raw"
    raw.mkdir(parents=True)
    for file in (Path(data_root) / ours.name / "raw").glob("*.gz"):
        (raw / file.stem).write_bytes(gzip.decompress(file.read_bytes()))
    theirs = loaded(Torchvision(f"torchvision.datasets.{ours.name}", root=str(tmp_path)))
    data = ours(root=data_root)
    data.setup("fit")
    data.setup("test")
    assert torch.equal(theirs.splits["test"].images, data.splits["test"].images)
    assert torch.equal(theirs.splits["test"].labels, data.splits["test"].labels)

    def all_of(of):
        images, labels = (
            torch.cat([getattr(of.splits[name], part) for name in ("train", "val")])
            for part in ("images", "labels")
        )
        return sorted(
            (bytes(image), int(label)) for image, label in zip(images.numpy(), labels, strict=True)
        )

    assert all_of(theirs) == all_of(data)
    assert len(theirs.splits["val"].labels) == 6_000
    assert theirs.mean == pytest.approx([data.mean], abs=2e-4)
    assert theirs.std == pytest.approx([data.std], abs=2e-4)


@pytest.fixture
def cifar(tmp_path, monkeypatch):
    """Files in the format of CIFAR-10, of 50 + 20 images, and their content."""
    folder, generator = tmp_path / "data" / "cifar-10-batches-py", np.random.default_rng(0)
    folder.mkdir(parents=True)
    content = {}
    for name, number in [*((f"data_batch_{i}", 10) for i in range(1, 6)), ("test_batch", 20)]:
        pixels = generator.integers(0, 256, (number, 3072), dtype=np.uint8)
        labels = [index % 10 for index in range(number)]
        content[name] = pixels.reshape(-1, 3, 32, 32)
        with open(folder / name, "wb") as file:
            pickle.dump({"data": pixels, "labels": labels}, file)
    with open(folder / "batches.meta", "wb") as file:
        pickle.dump({"label_names": [f"thing {index}" for index in range(10)]}, file)
    kind = datasets.CIFAR10
    monkeypatch.setattr(kind, "train_list", [[name, None] for name, _ in kind.train_list])
    monkeypatch.setattr(kind, "test_list", [[name, None] for name, _ in kind.test_list])
    monkeypatch.setattr(kind, "meta", kind.meta | {"md5": None})
    return content


def test_files_in_the_format_of_cifar10(cifar, tmp_path):
    data = loaded(Torchvision("torchvision.datasets.CIFAR10", root=str(tmp_path / "data")))
    assert (data.name, data.native_size, data.native_channels) == ("CIFAR10", 32, 3)
    assert data.classes == tuple(f"thing {index}" for index in range(10))
    assert np.array_equal(data.splits["test"].images.numpy(), cifar["test_batch"])
    assert data.splits["test"].labels.tolist() == [index % 10 for index in range(20)]
    train = np.concatenate([cifar[f"data_batch_{i}"] for i in range(1, 6)])
    both = torch.cat([data.splits[name].images for name in ("train", "val")]).numpy()
    assert sorted(map(bytes, both)) == sorted(map(bytes, train))
    assert len(data.splits["val"].labels) == 5
    assert data.note == "val: 10 % of train each"


SPLITS = {
    "SVHN": ({"train": "train", "test": "test"}),
    "STL10": ({"train": "train", "test": "test"}),
    "Flowers102": ({"train": "train", "val": "val", "test": "test"}),
    "Country211": ({"train": "train", "val": "valid", "test": "test"}),
    "OxfordIIITPet": ({"train": "trainval", "test": "test"}),
    "Imagenette": ({"train": "train", "test": "val"}),
    "Food101": ({"train": "train", "test": "test"}),
}


@pytest.mark.parametrize("name", SPLITS)
def test_splits_are_found_whatever_they_are_called(name, tmp_path, monkeypatch):
    kind, made = getattr(datasets, name), []
    refuses = kind.__init__

    def make(self, root, split="train", **options):
        if split == "?":
            assert not options.get("download")
            refuses(self, root, split)
        made.append(split)

    make.__signature__ = torchvision_datasets.inspect.signature(refuses)
    monkeypatch.setattr(kind, "__init__", make)
    data = Torchvision(f"torchvision.datasets.{name}", root=str(tmp_path))
    assert list(data._datasets) == list(SPLITS[name])
    assert made == list(SPLITS[name].values())


def test_a_dataset_without_splits_is_split_three_ways(tmp_path):
    data = loaded(Torchvision("torchvision.datasets.FakeData", root=str(tmp_path), options=FAKE))
    theirs = datasets.FakeData(**FAKE | {"image_size": (3, 32, 32)})
    assert {name: len(split.labels) for name, split in data.splits.items()} == {
        "train": 48,
        "val": 6,
        "test": 6,
    }
    content = {bytes(np.array(image).transpose(2, 0, 1)): int(label) for image, label in theirs}
    for images, labels in data.splits.values():
        for image, label in zip(images.numpy(), labels.tolist(), strict=True):
            key = bytes(np.ascontiguousarray(image))
            assert key in content, "it is no image of theirs"
            assert content.pop(key) == label
    assert not content


def test_two_folders_can_share_a_cache(cifar, tmp_path):
    cache, kind = str(tmp_path / "cache"), "torchvision.datasets.CIFAR10"
    first = loaded(Torchvision(kind, root=str(tmp_path / "data"), cache=cache))
    shutil.copytree(tmp_path / "data", tmp_path / "more")
    with open(tmp_path / "more" / "cifar-10-batches-py" / "test_batch", "wb") as file:
        pickle.dump({"data": np.zeros((20, 3072), np.uint8), "labels": [*range(10)] * 2}, file)
    second = loaded(Torchvision(kind, root=str(tmp_path / "more"), cache=cache))
    assert second.splits["test"].images.max() == 0
    again = loaded(Torchvision(kind, root=str(tmp_path / "data"), cache=cache))
    assert torch.equal(again.splits["test"].images, first.splits["test"].images)


def test_what_is_there_needs_no_lock(cifar, tmp_path, monkeypatch):
    """The folder may be read-only."""
    monkeypatch.setattr(torchvision_datasets, "FileLock", None)
    options = {"root": str(tmp_path / "data"), "cache": str(tmp_path / "cache")}
    loaded(Torchvision("torchvision.datasets.CIFAR10", **options))
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["cifar-10-batches-py"]


@pytest.mark.parametrize("channels", [None, 1, 3])
def test_a_dataset_is_gray_only_if_all_of_it_is(tmp_path, monkeypatch, channels):
    fetch = datasets.FakeData.__getitem__

    def gray_at_first(self, index):
        image, label = fetch(self, index)
        return image.convert("L") if index < 20 else image, label

    monkeypatch.setattr(datasets.FakeData, "__getitem__", gray_at_first)
    options = {"root": str(tmp_path), "options": FAKE, "channels": channels}
    data = loaded(Torchvision("torchvision.datasets.FakeData", **options))
    assert data.splits["train"].images.shape[1] == data.channels == (channels or 3)


def test_labels_that_only_the_items_have_are_read_once(tmp_path, monkeypatch):
    fetched, fetch = [], datasets.FakeData.__getitem__
    monkeypatch.setattr(
        datasets.FakeData, "__getitem__", lambda self, i: fetched.append(i) or fetch(self, i)
    )
    options = {"root": str(tmp_path), "options": FAKE}
    first = loaded(Torchvision("torchvision.datasets.FakeData", **options))
    fetched.clear()
    second = loaded(Torchvision("torchvision.datasets.FakeData", **options))
    assert len(fetched) <= torchvision_datasets.PROBED
    for name, split in first.splits.items():
        assert torch.equal(split.labels, second.splits[name].labels)
    other = FAKE | {"random_offset": 1000}
    third = loaded(Torchvision("torchvision.datasets.FakeData", **options | {"options": other}))
    assert not torch.equal(first.splits["train"].labels, third.splits["train"].labels)


def test_labels_with_columns_beside_the_class_are_read_from_the_items(tmp_path, monkeypatch):
    """QMNIST's: the class is the first of eight numbers."""
    monkeypatch.setattr(datasets.FakeData, "targets", np.zeros((60, 8), int), raising=False)
    data = loaded(Torchvision("torchvision.datasets.FakeData", root=str(tmp_path), options=FAKE))
    assert len(data.splits["train"].labels.unique()) == 3


def test_an_image_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    fetch = datasets.FakeData.__getitem__

    def broken(self, index):
        if index == 7:
            raise UnidentifiedImageError("cannot identify image file")
        return fetch(self, index)

    labels = [label for _, label in datasets.FakeData(**FAKE | {"image_size": (3, 32, 32)})]
    monkeypatch.setattr(datasets.FakeData, "targets", labels, raising=False)
    monkeypatch.setattr(datasets.FakeData, "__getitem__", broken)
    data = Torchvision("torchvision.datasets.FakeData", root=str(tmp_path), options=FAKE)
    with pytest.raises(DatasetError, match=r"7: \d cannot be read: cannot identify"):
        data.prepare_data()


def test_images_of_several_sizes_are_resized_to_one(tmp_path, monkeypatch):
    fetch = datasets.FakeData.__getitem__

    def of_another_size(self, index):
        image, label = fetch(self, index)
        return image.resize((32 + index, 40)), label

    monkeypatch.setattr(datasets.FakeData, "__getitem__", of_another_size)
    options = {"root": str(tmp_path), "options": FAKE, "image_size": 24}
    data = loaded(Torchvision("torchvision.datasets.FakeData", **options))
    assert data.splits["train"].images.shape == (48, 3, 24, 24)


def test_it_trains_and_its_checkpoint_works_without_the_dataset(train, tmp_path):
    options = (
        *("--config", QUICKSTART, "--data", "datamodules.Torchvision", "--data.root", "data"),
        *("--data.dataset", "torchvision.datasets.FakeData", "--data.image_size", 28),
        *("--data.options", '{"size": 60, "image_size": [3, 32, 32], "num_classes": 3}'),
        *("--trainer.max_epochs", 1, "--dashboard", "false", "--run_dir", "run"),
    )
    ended = train(*options)
    assert (ended.status, ended.err) == (0, "")
    assert "FakeData, 48 + 6 images of 28 x 28" in ended.out
    classifier, data = load(tmp_path / "run" / "checkpoints" / "best.ckpt")
    assert (data.name, data.native_size, data.classes) == ("FakeData", 32, ("0", "1", "2"))
    assert classifier(torch.zeros(1, 3, 28, 28)).shape == (1, 3)


@pytest.mark.parametrize(
    ("dataset", "named"),
    [
        ("torchvision.datasets.CIFAR11", ["torchvision.datasets.CIFAR10", "CIFAR11"]),
        ("os.path.join", ["torchvision.datasets", "os.path.join"]),
        ("torchvision.datasets.ImageFolder", ["use datamodules.ImageFolder"]),
        ("torchvision.datasets.EMNIST", ["EMNIST has no split for training", "--data.options"]),
        ("torchvision.datasets.CIFAR10", ["cannot be loaded from", "nowhere", "--data.root"]),
        ("torchvision.datasets.FakeData", ["--data.options", "image"]),
    ],
)
def test_a_dataset_that_cannot_be_loaded_gets_one_line(train, monkeypatch, dataset, named):
    monkeypatch.setattr(datasets.CIFAR10, "url", "http://127.0.0.1:9/")  # no server listens there
    options = ["--data.options", '{"image": 3}'] if "Fake" in dataset else []
    ended = train(
        *("--config", QUICKSTART, "--data", "datamodules.Torchvision", "--data.root", "nowhere"),
        *("--data.dataset", dataset, *options),
    )
    assert_one_line(ended, named)


def test_labels_that_are_not_classes_get_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.FakeData, "targets", [0.5] * 60, raising=False)
    data = Torchvision("torchvision.datasets.FakeData", root=str(tmp_path), options=FAKE)
    with pytest.raises(DatasetError, match="not classes, but float64"):
        data.prepare_data()
