"""A folder of photographs, compared with torchvision's ImageFolder."""

import csv
import errno
import json
import os
import shutil
import time
import warnings
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import datasets, transforms

import compare as compare_script
import evaluate as evaluate_script
import export as export_script
import predict as predict_script
from datamodules import DatasetError, ImageFolder, image_cache, image_folder
from datamodules.image_cache import ImageCache
from datamodules.image_files import read_photograph
from terminal.atomic import UNFINISHED
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


def test_missing_splits_are_the_same_for_every_seed(tmp_path):
    plant(tmp_path / "train", 30)
    torch.manual_seed(1)
    first = loaded(tmp_path, cache=str(tmp_path / "a"))
    torch.manual_seed(2)
    second = loaded(tmp_path, cache=str(tmp_path / "b"))
    for name, split in first.splits.items():
        assert torch.equal(split.images, second.splits[name].images)


def test_a_channel_without_contrast_is_not_scaled(tmp_path):
    for name, red in (("a", 10), ("b", 200)):
        for index in range(10):
            place = tmp_path / "train" / name
            place.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (20, 20), (red, 50, 0)).save(place / f"{index}.png")
    data = loaded(tmp_path)
    assert data.std[1:] == [1.0, 1.0]
    assert data.mean[1:] == pytest.approx([50 / 255, 0])
    assert data.preprocess_images(data.splits["train"].images, False).isfinite().all()


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


def touch(photos):
    os.utime(photos / "val" / "leaf" / "1.bmp", ns=(1, 1))


def resize(photos):
    with open(photos / "val" / "leaf" / "1.bmp", "ab") as file:
        file.write(b"\0")
    os.utime(photos / "val" / "leaf" / "1.bmp", ns=(0, 0))


def rename(photos):
    (photos / "val" / "leaf" / "1.bmp").rename(photos / "val" / "leaf" / "2.bmp")


def swap(photos):
    """Files of one size and time, as an archive can leave them."""
    a, b = photos / "val" / "leaf" / "1.bmp", photos / "val" / "sky" / "1.bmp"
    a.rename(photos / "other")
    b.rename(a)
    (photos / "other").rename(b)


@pytest.mark.parametrize("change", [touch, resize, rename, swap])
def test_any_change_of_a_file_is_noticed(photos, decodes, change):
    for name in SHADES:
        photograph(photos / "val" / name / "1.bmp", SHADES[name])
        os.utime(photos / "val" / name / "1.bmp", ns=(0, 0))
    loaded(photos)
    decodes.clear()
    change(photos)
    data = loaded(photos)
    assert len(decodes) == 12
    by_class = {
        name: read_photograph(min((photos / "val" / name).glob("*.bmp")), 20, 3) for name in SHADES
    }
    images = {bytes(np.ascontiguousarray(image)) for image in data.splits["val"].images.numpy()}
    assert all(bytes(np.ascontiguousarray(image)) in images for image in by_class.values())


def test_the_leftovers_of_a_killed_process_are_removed(photos):
    (photos / ".decoded").mkdir()
    left = photos / ".decoded" / f".train-20x3-0123.images.abc{UNFINISHED}"
    left.write_bytes(b"half of it")
    loaded(photos)
    assert not left.exists()


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
    hidden = photos / "train" / "leaf" / ".ipynb_checkpoints"
    hidden.mkdir()
    shutil.copy(photos / "train" / "leaf" / "0.png", hidden / "0-checkpoint.png")
    (photos / "train" / ".git").mkdir()
    assert len(loaded(photos, strict=True).splits["train"].labels) == 60
    assert capsys.readouterr().err == ""


def test_linked_folders_are_followed_once(photos, tmp_path):
    plant(tmp_path / "more", 5)
    (photos / "train" / "leaf" / "more").symlink_to(tmp_path / "more" / "leaf")
    (photos / "train" / "leaf" / "around").symlink_to(photos / "train" / "leaf")  # a circle
    data = loaded(photos)
    assert data.splits["train"].labels.bincount().tolist() == [20, 25, 20]


def test_a_folder_that_cannot_be_read_is_an_error(photos, monkeypatch):
    """Not a folder without images."""
    scan = os.scandir

    def refuse(path):
        if str(path).endswith("leaf"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(OSError, match="leaf"):
        loaded(photos)


@pytest.mark.parametrize(
    "error", [PermissionError(errno.EACCES, "Permission denied"), MemoryError()]
)
def test_a_failure_that_may_pass_is_not_kept(photos, monkeypatch, error):
    opened = Image.open

    def fail(file, **options):
        if str(getattr(file, "name", "")).endswith("leaf/3.png"):
            raise error
        return opened(file, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Image, "open", fail)
        with pytest.raises(DatasetError, match=r"leaf/3\.png cannot be read"):
            loaded(photos)
    assert len(loaded(photos, strict=True).splits["train"].labels) == 60


def test_warnings_of_decoders_are_hidden_and_others_are_shown_again(photos, monkeypatch):
    opened = Image.open

    def warn(*args, **options):
        warnings.warn("a tag is broken", stacklevel=1)
        return opened(*args, **options)

    monkeypatch.setattr(Image, "open", warn)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        before = list(warnings.filters)
        assert len(loaded(photos).splits["train"].labels) == 60
        assert list(warnings.filters) == before


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


def test_the_cache_can_be_elsewhere(photos, tmp_path, decodes):
    data = loaded(photos, cache=str(tmp_path / "cache"))
    assert len(data.splits["train"].labels) == 60
    assert not (photos / ".decoded").exists()
    plant(tmp_path / "others" / "train", 20)
    loaded(tmp_path / "others", cache=str(tmp_path / "cache"))  # which folders share
    decodes.clear()
    loaded(photos, cache=str(tmp_path / "cache"))
    assert not decodes
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
def test_another_dataset_is_not_given_the_folders_options(run, run_script):
    best = run / "checkpoints" / "best.ckpt"
    ended = run_script(evaluate_script.main, best, "--data", "Digits")
    assert_one_line(ended, ["channels"])
    assert "does not accept option" not in ended.err


@pytest.mark.slow
def test_a_finished_run_of_other_images_is_another_recipe(photos, train, run_script, tmp_path):
    """The folder has the same name."""
    runs = []
    for name, seed in (("one", 1), ("two", 2)):
        folder = tmp_path / name / "photos"
        plant(folder / "train", 10, size=(60 + seed, 40))
        options = (*TRAIN, "--trainer.max_epochs", 1, "--seed_everything", seed)
        ended = train(*options, "--data.root", folder, "--run_dir", name)
        assert ended.status == 0
        runs.append(json.loads((tmp_path / name / "results.json").read_text()))
    assert runs[0]["images"] != runs[1]["images"]
    assert run_script(compare_script.main, "one", "two", "--out", "compared").status == 0
    rows = list(csv.DictReader((tmp_path / "compared" / "results.csv").open()))
    assert len(rows) == 2
    again = (*TRAIN, "--trainer.max_epochs", 1, "--run_dir", "one")
    assert "is finished" in train(*again, "--data.root", tmp_path / "one" / "photos").out
    ended = train(*again, "--data.root", tmp_path / "two" / "photos")
    assert_one_line(ended, ["of other images", "--run_dir"])


def swap_two_labels(photos):
    """Leaves the statistics as they are."""
    apple, leaf = (photos / "train" / name / "0.png" for name in ("apple", "leaf"))
    apple.rename(photos / "train" / "leaf" / "a.png")
    leaf.rename(photos / "train" / "apple" / "a.png")


def move_from_val_to_test(photos):
    (photos / "val" / "leaf" / "0.png").rename(photos / "test" / "leaf" / "9.png")


def change_one(photos):
    photograph(photos / "train" / "leaf" / "0.png", SHADES["apple"])


@pytest.mark.slow
@pytest.mark.parametrize("change", [change_one, swap_two_labels, move_from_val_to_test])
def test_a_run_does_not_resume_with_other_images(run, photos, train, change):
    (run / "results.json").unlink()
    change(photos)
    ended = train(*TRAIN, "--data.root", photos, "--run_dir", "run")
    assert ended.status == 2
    assert len(ended.err.splitlines()) == 1
    assert "have changed since the run started" in ended.err


def test_held_out_test_images_were_not_trained_on(tmp_path):
    plant(tmp_path / "photos" / "train", 30)
    state = loaded(tmp_path / "photos").state_dict()
    again = ImageFolder(str(tmp_path / "photos"), image_size=20)
    again.load_state_dict(state)
    again.prepare_data()
    again.setup("test")
    photograph(tmp_path / "photos" / "train" / "leaf" / "new.png", SHADES["leaf"], seed=99)
    changed = ImageFolder(str(tmp_path / "photos"), image_size=20)
    changed.load_state_dict(state)
    with pytest.raises(DatasetError, match="may have been trained on"):
        changed.setup("test")
    plant(tmp_path / "photos" / "test", 3)  # test images of their own may be any
    apart = ImageFolder(str(tmp_path / "photos"), image_size=20)
    apart.load_state_dict(state)
    apart.setup("test")


def test_a_trained_network_needs_the_test_images_alone(photos, decodes):
    state = loaded(photos, cache=str(photos.parent / "elsewhere")).state_dict()
    decodes.clear()
    data = ImageFolder(str(photos), image_size=20)
    data.load_state_dict(state)
    data.prepare_data()
    data.setup("test")
    assert len(decodes) == 6


@pytest.mark.parametrize("name", ["../../private", "absolute"])
def test_a_class_name_of_a_checkpoint_is_no_path(photos, tmp_path, name):
    photograph(tmp_path / "private" / "secret.png", SHADES["sky"])
    state = loaded(photos).state_dict()
    name = str(tmp_path / "private") if name == "absolute" else name
    shutil.rmtree(photos / "train")  # it would have to have images of each class
    data = ImageFolder(str(photos), image_size=20)
    data.load_state_dict(state | {"classes": [*SHADES, name], "digests": {}})
    data.setup("test")
    assert len(data.splits["test"].labels) == 6


def test_two_that_start_together_decode_once(tmp_path):
    decoded = []

    def decode(index):
        decoded.append(index)
        time.sleep(0.02)
        return np.zeros((1, 4, 4), np.uint8)

    def read():
        names = [str(index) for index in range(10)]
        return ImageCache(tmp_path, 4, 1).read("train", names, "fingerprint", decode)

    with ThreadPoolExecutor(2) as pool:
        results = [pool.submit(read) for _ in range(2)]
    assert all(len(of.result().images) == 10 for of in results)
    assert sorted(decoded) == list(range(10))


def test_an_image_size_that_no_checkpoint_may_have_is_refused():
    with pytest.raises(ValueError, match="at most 4,096"):
        ImageFolder(image_size=5000)


BROKEN_STATES = {
    "digests that are no texts": {"digests": {"train": 5}},
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


@pytest.mark.slow
def test_examples_of_a_sorted_test_set_are_of_all_classes(run, photos, run_script):
    best = run / "checkpoints" / "best.ckpt"
    plant(photos / "test", 20)
    ended = run_script(predict_script.main, best, "--data.root", photos)
    assert {name for name in SHADES if f'actual: "{name}"' in ended.out} == set(SHADES)
    assert_one_line(
        run_script(predict_script.main, best, photos / "test", "--invert", "yes"), ["--invert"]
    )
    assert_one_line(run_script(predict_script.main, best, "nowhere"), ["no file or folder nowhere"])
