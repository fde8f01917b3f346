"""A folder of photographs, compared with torchvision's ImageFolder."""

import json
import shutil
from collections import namedtuple

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import datasets, transforms

import evaluate as evaluate_script
import export as export_script
import predict as predict_script
from datamodules import DatasetError, ImageFolder, image_cache, image_folder
from datamodules.image_files import read_photograph
from tests.conftest import QUICKSTART, assert_one_line
from tests.running import train_together

TRAIN = (
    *("--config", QUICKSTART, "--data", "datamodules.ImageFolder", "--data.image_size", 28),
    *("--data.batch_size", 16, "--trainer.max_epochs", 12, "--dashboard", "false"),
)
SHADES = {"apple": (200, 40, 40), "leaf": (40, 180, 60), "sky": (60, 90, 210)}


def photograph(path, shade, size=(60, 40), seed=0):
    """Saves noise around a shade, brighter to the right."""
    generator = np.random.default_rng(seed)
    noise = generator.normal(0, 20, (size[1], size[0], 3)) + np.linspace(-30, 30, size[0])[:, None]
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((noise + shade).clip(0, 255).astype(np.uint8)).save(path)


def plant(folder, number, **options):
    for name, shade in SHADES.items():
        for index in range(number):
            photograph(folder / name / f"{index}.png", shade, seed=index, **options)


@pytest.fixture
def photos(tmp_path):
    """Training, validation and test images, 20, 3 and 2 of each class."""
    root = tmp_path / "photos"
    for split, number in (("train", 20), ("val", 3), ("test", 2)):
        plant(root / split, number)
    return root


def loaded(root, **options):
    data = ImageFolder(str(root), image_size=20, **options)
    data.prepare_data()
    data.setup("fit")
    data.setup("test")
    return data


def test_the_same_images_and_labels_as_torchvision(photos):
    data = loaded(photos)
    transform = transforms.Compose([transforms.Resize(20), transforms.CenterCrop(20)])
    for split, (images, labels) in data.splits.items():
        theirs = datasets.ImageFolder(photos / split, transform)
        assert labels.tolist() == theirs.targets
        assert list(data.classes) == theirs.classes
        for ours, (image, _) in zip(images, theirs, strict=True):
            difference = ours.int() - torch.from_numpy(np.array(image)).permute(2, 0, 1).int()
            assert difference[:, 1:-1, 1:-1].abs().max() <= 1  # cropped borders differ more
            assert difference.abs().max() <= 16


def test_mean_and_std_are_those_of_the_training_pixels(photos):
    data = loaded(photos)
    pixels = data.splits["train"].images.double().transpose(0, 1).flatten(1) / 255
    assert data.mean == pytest.approx(pixels.mean(1).tolist(), abs=1e-12)
    assert data.std == pytest.approx(pixels.std(1, correction=0).tolist(), abs=1e-9)
    normalised = data.preprocess_images(data.splits["train"].images, is_training=False)
    assert normalised.mean((0, 2, 3)).abs().max() < 1e-5
    assert normalised.std((0, 2, 3)).sub(1).abs().max() < 1e-3


def test_missing_splits_are_held_out_by_class(tmp_path):
    plant(tmp_path / "train", 30)
    first, second = loaded(tmp_path), loaded(tmp_path)
    assert first.note == "val and test: 10 % of train each"
    assert {name: split.labels.bincount().tolist() for name, split in first.splits.items()} == {
        "train": [24] * 3,
        "val": [3] * 3,
        "test": [3] * 3,
    }
    together = torch.cat([split.images for split in first.splits.values()])
    assert len({bytes(image.numpy()) for image in together}) == 90  # disjoint and complete
    for name, split in first.splits.items():
        assert torch.equal(split.images, second.splits[name].images)
    train = first.splits["train"].images.double() / 255
    assert first.mean == pytest.approx(train.mean((0, 2, 3)).tolist(), abs=1e-12)


def test_an_image_is_rotated_by_its_exif_orientation(tmp_path):
    photograph(tmp_path / "upright.png", SHADES["sky"])
    upright, exif = Image.open(tmp_path / "upright.png"), Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees clockwise
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
    turned, expected = (
        read_photograph(tmp_path / f"{name}.png", 20, 3) for name in ("turned", "upright")
    )
    assert np.array_equal(turned, expected)


GRAY = np.tile(np.linspace(0, 255, 64).astype(np.uint8), (64, 1))
MODES = {
    "1": Image.fromarray(np.where(GRAY > 127, 255, 0).astype(np.uint8)).convert("1"),
    "L": Image.fromarray(GRAY),
    "P": Image.fromarray(GRAY).convert("P"),
    "RGB": Image.fromarray(GRAY).convert("RGB"),
    "RGBA": Image.fromarray(GRAY).convert("RGBA"),
    "LA": Image.fromarray(GRAY).convert("LA"),
    "CMYK": Image.fromarray(GRAY).convert("CMYK"),
    "I;16": Image.fromarray(GRAY.astype(np.uint16) * 257),
    "F": Image.fromarray(GRAY.astype(np.float32) / 255),
}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("mode", MODES)
def test_every_mode_is_read(tmp_path, mode, channels):
    MODES[mode].save(path := tmp_path / "image.tiff")
    image = read_photograph(path, 64, channels)
    assert image.shape == (channels, 64, 64)
    wanted = np.where(GRAY > 127, 255, 0) if mode == "1" else GRAY
    assert np.abs(image.astype(int) - wanted).max() <= 2


def test_transparency_becomes_white(tmp_path):
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(path := tmp_path / "image.png")
    assert (read_photograph(path, 8, 3) == 255).all()


@pytest.fixture
def decodes(monkeypatch):
    """The files decoded since the start of the test."""
    seen = []

    def read(path, *options):
        seen.append(path)
        return read_photograph(path, *options)

    monkeypatch.setattr(image_folder, "read_photograph", read)
    return seen


def test_files_are_decoded_once_and_again_when_one_changes(photos, decodes):
    first = loaded(photos)
    assert len(decodes) == 75
    second = loaded(photos)
    assert len(decodes) == 75
    for name, split in first.splits.items():
        assert torch.equal(split.images, second.splits[name].images)
    before = second.splits["val"].images.clone()
    photograph(photos / "val" / "leaf" / "1.png", SHADES["apple"], seed=9)
    third = loaded(photos)
    assert len(decodes) == 75 + 9  # only of val
    is_another = (third.splits["val"].images != before).any(3).any(2).any(1)
    assert is_another.nonzero().flatten().tolist() == [4]
    (photos / "val" / "leaf" / "1.png").unlink()
    assert len(loaded(photos).splits["val"].labels) == 8
    assert len(list((photos / ".decoded").glob("val-*"))) == 2  # the old images are removed


def cut_short(images):
    images.write_bytes(images.read_bytes()[:100])


def without_facts(images):
    images.with_suffix(".json").unlink()


def without_images(images):
    images.unlink()


def of_endless_images(images):
    facts = json.loads(images.with_suffix(".json").read_text())
    images.with_suffix(".json").write_text(json.dumps(facts | {"number": 10**12}))


def of_no_facts(images):
    images.with_suffix(".json").write_text("[]")


@pytest.mark.parametrize(
    "damage", [cut_short, without_facts, without_images, of_endless_images, of_no_facts]
)
def test_a_damaged_cache_is_decoded_again(photos, decodes, damage):
    before = loaded(photos).splits["train"].images.clone()
    (file,) = (photos / ".decoded").glob("train-*.images")
    damage(file)
    assert torch.equal(loaded(photos).splits["train"].images, before)
    assert len(decodes) == 75 + 60


def test_another_size_and_gray_have_separate_caches(photos, decodes):
    loaded(photos)
    gray = ImageFolder(str(photos), image_size=20, channels=1)
    gray.setup("fit")
    assert gray.splits["train"].images.shape == (60, 1, 20, 20)
    assert gray.preprocess_images(gray.splits["train"].images, False).shape == (60, 1, 20, 20)
    assert len(gray.mean) == 1
    decodes.clear()
    loaded(photos)
    assert not decodes


def test_images_are_memory_mapped_and_never_written(photos):
    data = loaded(photos)
    (file,) = (photos / ".decoded").glob("train-*.images")
    before = file.read_bytes()
    assert bytes(data.splits["train"].images.numpy()) == before
    data.splits["train"].images.zero_()
    assert file.read_bytes() == before


def test_hidden_and_system_files_are_skipped_silently(photos, capsys):
    for name in (".DS_Store", "Thumbs.db", "desktop.ini"):
        (photos / "train" / "leaf" / name).write_text("not an image")
    (photos / "train" / ".git").mkdir()
    assert len(loaded(photos, strict=True).splits["train"].labels) == 60
    assert capsys.readouterr().err == ""


def test_files_that_are_not_images_are_named_and_left_out_or_refused(photos, capsys):
    (photos / "train" / "leaf" / "10.png").write_text("not an image")
    whole = (photos / "train" / "apple" / "0.png").read_bytes()
    (photos / "train" / "apple" / "0.png").write_bytes(whole[: len(whole) // 2])
    for _ in range(2):  # also if they were decoded before
        data = loaded(photos)
        err = capsys.readouterr().err
        assert len(err.splitlines()) == 1
        assert "train/leaf/10.png (it is none of" in err
        assert "train/apple/0.png (" in err
    images, labels = data.splits["train"]
    assert labels.bincount().tolist() == [19, 19, 20]
    expected = read_photograph(photos / "train" / "leaf" / "11.png", 20, 3)
    assert np.array_equal(images[19 + 2].numpy(), expected)
    with pytest.raises(DatasetError, match=r"not images in .*\(train, 2\).*train/apple/0.png"):
        loaded(photos, strict=True)


def only(root, *names):
    for path in root.iterdir():
        if path.name not in names:
            shutil.rmtree(path)


def one_class(root):
    shutil.rmtree(root / "train" / "sky")
    shutil.rmtree(root / "train" / "leaf")


def empty_class(root):
    (root / "train" / "moon").mkdir()


def class_of_val_alone(root):
    plant(root / "val" / "moon", 1)


def one_image_each(root):
    only(root, "train")
    for path in (root / "train").glob("*/*.png"):
        if path.name != "0.png":
            path.unlink()


def no_images_in_val(root):
    for path in (root / "val").glob("*/*.png"):
        path.unlink()


def no_class_of_readable_images(root):
    for path in (root / "train" / "sky").glob("*.png"):
        path.write_text("not an image")


WRONG = {
    "no folder train": (lambda root: only(root), ["no folder", "train"]),
    "no classes": (lambda root: shutil.rmtree(root / "train") or (root / "train").mkdir(), ["no"]),
    "one class": (one_class, ["1 class folder", "two or more"]),
    "an empty class": (empty_class, ["class moon", "each class needs some"]),
    "a class of val alone": (class_of_val_alone, ["val/moon", "apple, leaf, sky"]),
    "one image of each class": (one_image_each, ["no image of the class", "held out"]),
    "no images in val": (no_images_in_val, ["val has no images"]),
    "a class of no readable images": (no_class_of_readable_images, ["class sky"]),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_folder_gets_one_line(photos, train, kind):
    make, named = WRONG[kind]
    make(photos)
    folder = ("--data", "datamodules.ImageFolder", "--data.root", photos, "--data.image_size", 28)
    ended = train("--config", QUICKSTART, *folder, "--run_dir", "run")
    lines = ended.err.splitlines()
    assert_one_line(ended._replace(err=lines[-1]), named)
    assert all(line.startswith("warning: ") for line in lines[:-1])
    assert not (photos.parent / "run").exists()


def test_without_a_root_the_error_says_what_it_holds(train):
    ended = train("--config", QUICKSTART, "--data", "datamodules.ImageFolder")
    assert_one_line(ended, ["--data.root", "train/<class>/"])


def test_a_full_disk_is_reported_before_decoding(photos, monkeypatch):
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(image_cache.shutil, "disk_usage", lambda folder: usage(1_000))
    with pytest.raises(DatasetError, match=r"0.0 GB are free. Name another.*--data.cache"):
        loaded(photos)


def test_the_cache_can_be_elsewhere(photos, tmp_path):
    data = loaded(photos, cache=str(tmp_path / "cache"))
    assert len(data.splits["train"].labels) == 60
    assert not (photos / ".decoded").exists()
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(DatasetError, match=r"Name another.*--data.cache"):
        loaded(photos, cache=str(tmp_path / "file"))


@pytest.fixture
def run(photos, train):
    """The folder of a finished run of 12 epochs, whose network can tell the colours apart."""
    ended = train(*TRAIN, "--data.root", photos, "--run_dir", "run")
    assert (ended.status, ended.err) == (0, "")
    assert "photos, 60 + 9 images of 28 x 28" in ended.out
    return photos.parent / "run"


@pytest.mark.slow
def test_a_checkpoint_works_on_another_machine(run, photos, run_script):
    results = json.loads((run / "results.json").read_text())
    assert results["dataset"] == "photos"
    assert results["test_accuracy"] == 1
    best = run / "checkpoints" / "best.ckpt"
    ended = run_script(evaluate_script.main, best, "--data.root", photos, "--json", "e.json")
    assert ended.status == 0
    evaluated = json.loads((photos.parent / "e.json").read_text())
    assert evaluated["loss"] == results["test_loss"]
    assert list(evaluated["classes"]) == list(SHADES)
    exported = run_script(export_script.main, best, "--data.root", photos)
    assert "images, uint8 (N, 3, 28, 28)" in exported.out
    shutil.rmtree(photos)
    for name, shade in SHADES.items():
        photograph(photos.parent / "new" / f"{name}.jpg", shade, size=(300, 500), seed=77)
    ended = run_script(predict_script.main, best, "new")
    assert (ended.status, ended.err) == (0, "")
    for name in SHADES:
        assert f'{name}.jpg: predicted: "{name}"' in ended.out
    for script in (predict_script, evaluate_script):  # without the test images
        assert_one_line(run_script(script.main, best), ["--data.root"])


@pytest.mark.slow
def test_a_run_does_not_resume_with_other_images(run, photos, train):
    (run / "results.json").unlink()
    photograph(photos / "train" / "leaf" / "0.png", SHADES["apple"])
    ended = train(*TRAIN, "--data.root", photos, "--run_dir", "run")
    assert ended.status == 2
    assert len(ended.err.splitlines()) == 1
    assert "have changed since the run started" in ended.err


BROKEN_STATES = {
    "no classes": {"classes": ["one"]},
    "classes that are numbers": {"classes": [1, 2, 3]},
    "a mean of one channel": {"mean": [0.5]},
    "a mean that is text": {"mean": ["a", "b", "c"]},
    "a deviation that is not finite": {"std": [1.0, 1.0, float("nan")]},
    "a name that is a list": {"name": []},
    "a size that fills the memory": {"native_size": 10**6},
    "two channels": {"native_channels": 2},
}


@pytest.mark.parametrize("kind", BROKEN_STATES)
def test_image_properties_in_a_checkpoint_are_checked(kind):
    sound = {"name": "photos", "classes": ["a", "b"], "mean": [0.5] * 3, "std": [0.2] * 3}
    sound |= {"native_size": 20, "native_channels": 3}
    data = ImageFolder()
    data.load_state_dict(sound)
    assert (data.name, data.classes, data.mean) == ("photos", ("a", "b"), [0.5] * 3)
    with pytest.raises(ValueError, match="the checkpoint has no"):
        ImageFolder().load_state_dict(sound | BROKEN_STATES[kind])


@pytest.mark.slow
def test_two_processes_decode_once_and_train(photos):
    ended = train_together(
        *(2, *TRAIN, "--data.root", photos, "--run_dir", "run", "--trainer.max_epochs", 1),
        cwd=photos.parent,
    )
    assert [of.status for of in ended] == [0, 0], ended
    assert len(list((photos / ".decoded").glob("*.images"))) == 3
