"""Files of one's own in MNIST's format, against MNIST itself and against what was written."""

import gzip
import os
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import evaluate as evaluate_script
import predict as predict_script
import train as train_script
from datamodules import MNIST, DatasetError, FashionMNIST, Idx
from inference.images import read_image
from tests.conftest import QUICKSTART, assert_one_line

TRAIN = (
    *("--config", QUICKSTART, "--data", "datamodules.Idx", "--data.root", "mine"),
    *("--data.image_size", 28, "--data.batch_size", 16, "--trainer.max_epochs", 5),
    *("--dashboard", "false", "--run_dir", "run"),
)


def encoded(values, kind=8):
    """An array in the IDX format."""
    header = struct.pack(f">HBB{values.ndim}I", 0, kind, values.ndim, *values.shape)
    return header + values.astype(np.uint8).tobytes()


def bars(number, shape, classes=3, seed=0):
    """Noise, and for each class a bright bar at a height of its own; and the labels."""
    generator = np.random.default_rng(seed)
    images = generator.integers(0, 80, (number, *shape), dtype=np.uint8)
    labels = np.arange(number) % classes
    for image, label in zip(images, labels, strict=True):
        height = shape[0] // classes
        image[label * height : (label + 1) * height] += 120
    return images, labels


def write(folder, start, images, labels, end=""):
    folder.mkdir(exist_ok=True)
    for kind, values in (("images", images), ("labels", labels)):
        content = encoded(values)
        path = folder / f"{start}-{kind}-idx{values.ndim}-ubyte{end}"
        path.write_bytes(gzip.compress(content) if end else content)


@pytest.fixture
def mine(tmp_path):
    """90 + 30 gray images of three classes, 12 x 10."""
    write(tmp_path / "mine", "train", *bars(90, (12, 10)))
    write(tmp_path / "mine", "t10k", *bars(30, (12, 10), seed=1), end=".gz")
    return tmp_path / "mine"


def loaded(root, **options):
    data = Idx(str(root), **options)
    data.prepare_data()
    data.setup("fit")
    data.setup("test")
    return data


def as_a_set(*splits):
    return sorted(
        (bytes(image), int(label))
        for images, labels in splits
        for image, label in zip(images.numpy(), labels, strict=True)
    )


@pytest.mark.parametrize("kind", [MNIST, FashionMNIST])
@pytest.mark.parametrize("end", ["compressed", "extracted"])
def test_the_published_files_are_read_as_their_own_data_module_does(data_root, tmp_path, kind, end):
    raw = Path(data_root) / kind.name / "raw"
    if end == "extracted":
        for path in raw.glob("*.gz"):
            (tmp_path / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
        raw = tmp_path
    ours, theirs = loaded(raw), kind(root=data_root)
    theirs.setup("fit")
    theirs.setup("test")
    for one, other in zip(ours.splits["test"], theirs.splits["test"], strict=True):
        assert torch.equal(one, other)
        assert one.dtype == other.dtype
    both = (ours.splits["train"], ours.splits["val"])
    assert as_a_set(*both) == as_a_set(theirs.splits["train"], theirs.splits["val"])
    assert [len(split.labels) for split in both] == [54_000, 6_000]
    assert ours.splits["val"].labels.bincount().tolist() == pytest.approx(
        (torch.cat([split.labels for split in both]).bincount() / 10).tolist(), abs=1
    )
    assert ours.mean == pytest.approx([kind.mean], abs=2e-4)
    assert ours.std == pytest.approx([kind.std], abs=2e-4)
    assert ours.classes == tuple("0123456789")
    assert (ours.native_size, ours.native_channels) == (28, 1)


def test_mean_and_deviation_are_those_of_the_training_images(tmp_path):
    write(tmp_path / "mine", "train", *bars(50, (8, 8, 3)))
    data = loaded(tmp_path / "mine")
    pixels = data.splits["train"].images.double().transpose(0, 1).flatten(1) / 255
    assert data.mean == pytest.approx(pixels.mean(1).tolist(), abs=1e-12)
    assert data.std == pytest.approx(pixels.std(1, correction=0).tolist(), abs=1e-9)


@pytest.mark.parametrize("end", ["", ".gz"])
def test_images_in_colour(tmp_path, end):
    images, labels = bars(40, (9, 9, 3))
    write(tmp_path / "mine", "train", images, labels, end)
    write(tmp_path / "mine", "t10k", images[:7], labels[:7])
    data = loaded(tmp_path / "mine")
    assert (data.native_channels, data.channels, data.native_size) == (3, 3, 9)
    assert np.array_equal(data.splits["test"].images, images[:7].transpose(0, 3, 1, 2))
    assert as_a_set(data.splits["train"], data.splits["val"]) == sorted(
        (bytes(image.transpose(2, 0, 1).copy()), label)
        for image, label in zip(images, labels, strict=True)
    )
    with pytest.raises(DatasetError, match=r"data\.channels must be 3"):
        loaded(tmp_path / "mine", channels=1)


@pytest.mark.parametrize("shape", [(12, 10), (10, 12), (10, 12, 3), (5, 90)])
def test_what_is_not_square_is_cropped_to_the_middle(tmp_path, shape):
    images, labels = bars(30, shape)
    write(tmp_path / "mine", "train", images, labels)
    write(tmp_path / "mine", "t10k", images, labels)
    data = loaded(tmp_path / "mine")
    found = data.splits["test"].images
    side = min(shape[:2])
    top, left = (shape[0] - side) // 2, (shape[1] - side) // 2
    expected = images[:, top : top + side, left : left + side].reshape(30, side, side, -1)
    if not sum(shape[:2]) % 2:  # an odd rest is shared evenly, between two pixels
        assert np.array_equal(found, expected.transpose(0, 3, 1, 2))
    for image, ours in zip(images, found, strict=True):  # as predict.py reads it
        Image.fromarray(image).save(tmp_path / "image.png")
        assert torch.equal(read_image(tmp_path / "image.png", data), ours)


def test_a_test_set_that_is_missing_is_split_off(tmp_path):
    images, labels = bars(100, (8, 8), classes=4)
    write(tmp_path / "mine", "train", images, labels)
    data = loaded(tmp_path / "mine")
    assert data.note == "val and test: 10 % of train each"
    counts = {name: len(split.labels) for name, split in data.splits.items()}
    assert counts == {"train": 80, "val": 10, "test": 10}
    assert as_a_set(*data.splits.values()) == sorted(
        (bytes(image), label) for image, label in zip(images, labels, strict=True)
    )


def test_other_spellings_of_the_names(mine):
    expected = loaded(mine)
    for path in list(mine.iterdir()):
        path.rename(mine / path.name.replace("-idx", ".idx"))
    found = loaded(mine)
    for name, split in expected.splits.items():
        assert torch.equal(found.splits[name].images, split.images)


def test_it_trains_and_its_checkpoint_is_asked_alone(train, run_script, mine, tmp_path):
    names = ("top", "middle", "bottom")
    ended = train(*TRAIN, "--data.classes", f"[{', '.join(names)}]")
    assert (ended.status, ended.err) == (0, "")
    assert "mine, 81 + 9 images of 28 x 28" in ended.out
    assert "split   val: 10 % of train each" in ended.out
    images, labels = bars(30, (12, 10), seed=1)
    for index, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / f"{index:02}.png")
    checkpoint = tmp_path / "run" / "checkpoints" / "best.ckpt"
    mine.rename(tmp_path / "elsewhere")
    for path in (tmp_path / "elsewhere").glob("train-*"):
        path.unlink()
    ended = run_script(evaluate_script.main, checkpoint, "--data.root", "elsewhere")
    assert (ended.status, ended.err) == (0, "")
    assert "mine, 30 test images" in ended.out
    assert "accuracy     100.00%" in ended.out
    ended = run_script(predict_script.main, checkpoint, *sorted(tmp_path.glob("*.png")))
    assert (ended.status, ended.err) == (0, "")
    lines = [line for line in ended.out.splitlines() if "predicted" in line]
    for line, label in zip(lines, labels, strict=True):
        assert f'predicted: "{names[label]}"' in line
    ended = run_script(predict_script.main, checkpoint)
    assert_one_line(ended, ["which images?", "--data.root", "train-images-idx3-ubyte"])


def relabel(mine, start, change):
    (path,) = mine.glob(f"{start}-labels*")
    content = path.read_bytes()
    content = gzip.decompress(content) if path.suffix == ".gz" else content
    labels = np.frombuffer(content, np.uint8, offset=8)
    content = encoded(change(labels))
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def test_labels_that_start_at_one_get_the_line_of_every_dataset(tmp_path):
    images, labels = bars(26 * 20, (8, 8), classes=2)
    labels = np.arange(26 * 20) % 26 + 1
    write(tmp_path / "mine", "train", images, labels)
    with pytest.raises(DatasetError, match=r"are from 1 to 26, and have to be from 0 to 25, as"):
        loaded(tmp_path / "mine")
    data = loaded(tmp_path / "mine", classes=["none", *"abcdefghijklmnopqrstuvwxyz"])
    assert data.classes[26] == "z"


def cut(path, by):
    path.write_bytes(path.read_bytes()[:by])


def change(path, at, value):
    content = bytearray(path.read_bytes())
    content[at] = value
    path.write_bytes(content)


def replace(path, make):
    path.unlink()
    make(path)


IMAGES = "train-images-idx3-ubyte"
BROKEN = {
    "no folder": (lambda mine: mine.rename(mine.with_name("other")), ["no folder mine", IMAGES]),
    "no files": (
        lambda mine: [path.unlink() for path in mine.iterdir()],
        ["no train-images-idx3-ubyte in mine", ".gz"],
    ),
    "no labels": (
        lambda mine: (mine / "train-labels-idx1-ubyte").unlink(),
        ["no train-labels-idx1-ubyte in mine"],
    ),
    "no labels to test": (
        lambda mine: (mine / "t10k-labels-idx1-ubyte.gz").unlink(),
        ["no t10k-labels-idx1-ubyte in mine"],
    ),
    "short": (lambda mine: cut(mine / IMAGES, -1), [IMAGES, "(90, 12, 10)", "10,800", "10,799"]),
    "long": (
        lambda mine: (mine / IMAGES).write_bytes((mine / IMAGES).read_bytes() + b"?"),
        [IMAGES, "it has 10,801 bytes, and not 10,800"],
    ),
    "cut in its header": (lambda mine: cut(mine / IMAGES, 9), [IMAGES, "within its header"]),
    "empty": (lambda mine: cut(mine / IMAGES, 0), [IMAGES, "two zeros"]),
    "another magic number": (lambda mine: change(mine / IMAGES, 1, 9), [IMAGES, "two zeros"]),
    "floats": (lambda mine: change(mine / IMAGES, 2, 13), [IMAGES, "0x0d", "0x08"]),
    "labels for images": (
        lambda mine: (mine / IMAGES).write_bytes((mine / "train-labels-idx1-ubyte").read_bytes()),
        [IMAGES, "of rank 1", "3 or 4"],
    ),
    "a giant by its header": (
        lambda mine: change(mine / IMAGES, 4, 255),
        [IMAGES, "(4278190170, 12, 10)"],
    ),
    "cut gzip": (
        lambda mine: cut(mine / "t10k-images-idx3-ubyte.gz", -20),
        ["t10k-images-idx3-ubyte.gz", "end-of-stream"],
    ),
    "damaged gzip": (
        lambda mine: change(mine / "t10k-images-idx3-ubyte.gz", 30, 255),
        ["t10k-images-idx3-ubyte.gz", "not as it has to be"],
    ),
    "fewer labels": (
        lambda mine: relabel(mine, "train", lambda labels: labels[:-1]),
        [IMAGES, "90 images", "89 labels"],
    ),
    "fewer labels to test": (
        lambda mine: relabel(mine, "t10k", lambda labels: labels[:-1]),
        ["30 images", "29 labels"],
    ),
    "one class": (
        lambda mine: relabel(mine, "train", lambda labels: labels * 0 + 2),
        ["train-labels-idx1-ubyte", "are 2", "two classes"],
    ),
    "a class that is in the test alone": (
        lambda mine: relabel(mine, "t10k", lambda labels: labels + 1),
        ["test labels", "from 1 to 3", "from 0 to 2"],
    ),
    "no images": (
        lambda mine: write(mine, "train", np.zeros((0, 8, 8)), np.zeros(0)),
        [IMAGES, "0 images"],
    ),
    "images of nothing": (
        lambda mine: write(mine, "train", np.zeros((9, 0, 8)), np.zeros(9)),
        [IMAGES, "0 x 8"],
    ),
    "too large": (
        lambda mine: write(mine, "train", np.zeros((2, 1, 5000)), np.arange(2)),
        [IMAGES, "1 x 5000", "4,096"],
    ),
    "four channels": (
        lambda mine: [(mine / IMAGES).unlink(), write(mine, "train", *bars(9, (8, 8, 4)))],
        ["train-images-idx4-ubyte", "(9, 8, 8, 4)", "(N, H, W, 3)"],
    ),
    "a test of another size": (
        lambda mine: [
            (mine / "t10k-images-idx3-ubyte.gz").unlink(),
            write(mine, "t10k", *bars(30, (8, 8)), end=".gz"),
        ],
        ["test images of mine", "(30, 1, 8, 8)", "(N, C, 10, 10)"],
    ),
    "a pipe": (lambda mine: replace(mine / IMAGES, os.mkfifo), [IMAGES, "no file"]),
    "a loop": (
        lambda mine: replace(mine / IMAGES, lambda path: path.symlink_to(path)),
        [IMAGES, "not as it has to be"],
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_what_is_broken_gets_one_line_before_the_training(run_script, mine, kind):
    damage, named = BROKEN[kind]
    damage(mine)
    ended = run_script(train_script.main, *TRAIN)
    assert_one_line(ended, named)


@pytest.mark.parametrize("classes", [["a"], ["a", "a"]])
def test_names_of_classes_are_different(classes):
    with pytest.raises(ValueError, match="two or more different names"):
        Idx("mine", classes=classes)
