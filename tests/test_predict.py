"""What a user of `predict.py` relies on."""

import csv

import numpy as np
import pytest
import torch
from PIL import Image

from datamodules import MNIST, Digits
from inference.images import ImageError, read_image
from predict import main
from tests.conftest import assert_one_line


@pytest.fixture
def best(digits_run):
    return digits_run / "checkpoints" / "best.ckpt"


def rows(folder):
    with open(folder / "predictions.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_without_files_it_tells_ten_of_the_test_set(run_script, best, tmp_path):
    ended = run_script(main, best)
    assert (ended.status, ended.err) == (0, "")
    _, labels = digits()
    lines = ended.out.splitlines()[:10]
    for line, label in zip(lines, labels, strict=False):
        assert line.startswith('predicted: "')
        assert f'actual: "{label}"' in line
    right = sum(row["actual"] == row["class_1"] for row in rows(tmp_path / "predictions"))
    assert right >= 7  # trained with other seeds too it has 9 or 10, and by chance one
    with Image.open(tmp_path / "predictions" / "predictions.png") as picture:
        pixels = np.array(picture.convert("RGB"), int)
    assert picture.size[0] > 1000
    assert ((pixels[..., 1] - pixels[..., 0]) > 60).any()  # what is right stands in green
    assert (pixels.std(axis=(0, 1)) > 30).all()


def digits():
    data = Digits(image_size=28)
    data.setup("test")
    return data.splits["test"]


def photograph(image, rng):
    """A dark digit on unevenly lit paper, somewhere in a large picture with some noise."""
    ink = np.zeros((300, 400))
    top, left = rng.integers(10, 80), rng.integers(10, 180)
    large = Image.fromarray(image.numpy()).resize((200, 200), Image.Resampling.BICUBIC)
    ink[top : top + 200, left : left + 200] = np.array(large) / 255
    light = 190 + 40 * np.linspace(0, 1, 400) - 15 * np.linspace(0, 1, 300)[:, None]
    return np.clip(light * (1 - 0.75 * ink) + rng.normal(0, 3, ink.shape), 0, 255).astype(np.uint8)


def test_photographed_digits_are_recognised(run_script, best, tmp_path):
    images, labels = digits()
    rng = np.random.default_rng(0)
    photos = tmp_path / "photos"
    photos.mkdir()
    for index in range(50):
        photo = Image.fromarray(photograph(images[index, 0], rng)).convert("RGB")
        photo.save(photos / f"{index:02}.jpg")
    ended = run_script(main, best, photos, "--out", "out", "--top_k", "2")
    assert (ended.status, ended.err) == (0, "")
    answers = rows(tmp_path / "out")
    assert [row["file"] for row in answers] == [str(path) for path in sorted(photos.iterdir())]
    right = sum(int(row["class_1"]) == label for row, label in zip(answers, labels, strict=False))
    # Trained with other seeds too it has 47 or 48; without inverting or cutting out, 8 at most.
    assert right >= 40
    for row in answers:
        assert 0 <= float(row["probability_2"]) <= float(row["probability_1"]) <= 1


def modes(photo):
    gray = Image.fromarray(photo)
    drawing = np.zeros((*photo.shape, 4), np.uint8)
    drawing[..., 3] = np.where(photo < 120, 255, 0)
    chalk = drawing.copy()
    chalk[..., :3] = 255
    return {
        "rgb.jpg": gray.convert("RGB"),
        "palette.png": gray.convert("P"),
        "sixteen_bits.png": Image.fromarray(photo.astype(np.uint16) * 257),
        "one_bit.bmp": gray.point(lambda value: 255 * (value > 120)).convert("1"),
        "cmyk.jpg": gray.convert("CMYK"),
        "ink_on_nothing.png": Image.fromarray(drawing),
        "chalk_on_nothing.png": Image.fromarray(chalk),
        "light_on_dark.png": Image.fromarray(255 - photo),
        "gray_and_alpha.png": gray.convert("LA"),
    }


def test_every_mode_and_depth_means_the_same(tmp_path):
    photo = photograph(digits()[0][0, 0], np.random.default_rng(0))
    data = MNIST(root="nowhere")
    Image.fromarray(photo).save(tmp_path / "gray.png")
    expected = read_image(tmp_path / "gray.png", data).float() / 255
    assert expected.shape == (1, 28, 28)
    for name, image in modes(photo).items():
        image.save(tmp_path / name)
        found = read_image(tmp_path / name, data).float() / 255
        assert (found - expected).abs().mean() < 0.05, name


def test_an_image_of_the_dataset_stays_as_it_is(tmp_path):
    image = digits()[0][3]
    Image.fromarray(image[0].numpy()).save(tmp_path / "digit.png")
    assert torch.equal(read_image(tmp_path / "digit.png", Digits(image_size=28)), image)


def test_what_is_no_image_is_named_and_the_others_are_done(run_script, best, tmp_path):
    folder = tmp_path / "files"
    (folder / "below").mkdir(parents=True)
    Image.fromarray(digits()[0][0, 0].numpy()).save(folder / "below" / "good.png")
    whole = (folder / "below" / "good.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.png").touch()
    (folder / "notes.txt").write_text("no image")
    (folder / ".hidden").write_text("not even looked at")
    Image.new("1", (30_000, 30_000)).save(folder / "bomb.png")
    ended = run_script(main, best, folder)
    assert ended.status == 2
    assert [row["file"] for row in rows(tmp_path / "predictions")] == [
        str(folder / "below/good.png")
    ]
    warnings = ended.err.splitlines()
    assert len(warnings) == 4
    for name in ("bomb.png", "cut.png", "empty.png", "notes.txt"):
        assert sum(name in line for line in warnings) == 1


def test_blank_images_are_no_trouble(tmp_path):
    for name, size in (("white.png", (50, 40)), ("dot.png", (1, 1)), ("line.png", (300, 2))):
        Image.new("L", size, "white").save(tmp_path / name)
        assert read_image(tmp_path / name, MNIST(root="nowhere")).max() == 0


def test_a_folder_of_many_images_needs_little_memory(run_script, best, tmp_path, monkeypatch):
    sizes = []
    monkeypatch.setattr("inference.predictions.BATCH", 16)
    monkeypatch.setattr(
        "inference.predictions.compute_logits",
        lambda classifier, data, images: sizes.append(len(images)) or torch.zeros(len(images), 10),
    )
    folder = tmp_path / "many"
    folder.mkdir()
    for index in range(150):
        Image.new("L", (8, 8)).save(folder / f"{index:03}.png")
    ended = run_script(main, best, folder)
    assert ended.status == 0
    assert max(sizes) == 16
    assert len(rows(tmp_path / "predictions")) == 150


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([], ["checkpoint", "--help"]),
        (["{best}", "nowhere.png"], ["nowhere.png"]),
        (["{best}", "--top_k", "11"], ["--top_k", "10"]),
        (["{best}", "--out", "{best}"], ["best.ckpt", "folder"]),
        (["{run}"], ["is a folder", "best.ckpt"]),
        (["{best}", "--invert", "perhaps"], ["perhaps", "auto"]),
    ],
)
def test_a_wrong_use_gets_one_line(run_script, best, tmp_path, arguments, named):
    ended = run_script(
        main, *(argument.format(best=best, run=best.parent.parent) for argument in arguments)
    )
    assert_one_line(ended, named)
    assert not list(tmp_path.iterdir())


def test_an_unreadable_file_says_so(tmp_path):
    (tmp_path / "text.png").write_text("text")
    with pytest.raises(ImageError, match="cannot identify"):
        read_image(tmp_path / "text.png", MNIST(root="nowhere"))
