"""Photographs and scans: what is found on them, and when it is said that nothing can be."""

import csv
import io
import os
import re
import sys

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from datamodules import MNIST, Digits, FashionMNIST
from datamodules.image_files import ImageError
from inference.digits import find_digits
from inference.images import read_file, read_image
from inference.ink import find_ink
from inference.predictions import Prediction, draw_sheet
from inference.preparation import prepare
from predict import main
from tests.conftest import assert_one_line
from tests.fuzz.watching import watched
from tests.pages import BLANK, KINDS, draw_page
from tools.read_pages import OVERLAP, match, overlap

EXPECTED = 0.85  # of the digits of each kind; docs/photographs.md has figures of more pages


@pytest.fixture(scope="module")
def mnist(data_root):
    data = MNIST(root=data_root)
    data.prepare_data()
    data.setup("test")
    images, labels = data.splits["test"]
    return images[:, 0].numpy(), labels.numpy()


@pytest.fixture(scope="module")
def nearest(data_root):
    """The class of the nearest training image, which knows nothing of our networks."""
    from sklearn.neighbors import KNeighborsClassifier

    data = MNIST(root=data_root)
    data.setup("fit")
    images, labels = (values[:10_000] for values in data.splits["train"])
    model = KNeighborsClassifier(1).fit(images.flatten(1).numpy() / 255, labels.numpy())
    return lambda shown: model.predict(torch.stack(shown).flatten(1).numpy() / 255).tolist()


@pytest.fixture(scope="module")
def best(digits_run):
    return digits_run / "checkpoints" / "best.ckpt"


def rows(folder):
    with open(folder / "predictions.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def seven(size=(400, 300), color="black", paper="white", width=14, mode="RGB"):
    """A seven, its box (100, 50, 220, 250) give or take the pen."""
    image = Image.new(mode, size, paper)
    ImageDraw.Draw(image).line([(100, 50), (220, 50), (140, 250)], color, width, "curve")
    return image


def is_seven(pixels):
    """Whether a prepared 28 x 28 image is a bar with a stroke from its right end to lower left."""
    ink = pixels.squeeze().float() / 255
    rows_of, columns_of = (torch.nonzero(ink.amax(axis) > 0.3).flatten() for axis in (1, 0))
    top, bottom, left = int(rows_of[0]), int(rows_of[-1]), int(columns_of[0])
    right = int(columns_of[-1])
    bar, middle = ink[top : top + 2].amax(0), ink[(top + bottom) // 2]
    return (
        bottom - top == 19
        and bool((bar[left + 1 : right] > 0.3).all())
        and float(middle[left : left + 3].max()) < 0.3
        and float(middle.max()) > 0.5
        and float(ink[bottom - 1, left : (left + right) // 2].max()) > 0.5
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "12 megapixels"])
def test_digits_of_every_kind_of_page_are_found_and_read(tmp_path, mnist, nearest, kind):
    images, labels = mnist
    found, written = [], []
    for index in range(12 if "several" not in kind else 4):
        page = draw_page(kind, images, labels, np.random.default_rng([7, index]))
        (tmp_path / "page.jpg").write_bytes(page.file)
        shown = read_file(tmp_path / "page.jpg", MNIST(root="nowhere"))
        matches = match(page.digits, [part.box for part in shown if part.box])
        written += [digit.label for digit in page.digits]
        found += [None if at is None else shown[at].image for at in matches]
    answers = iter(nearest([image for image in found if image is not None]))
    right = [
        image is not None and next(answers) == y for image, y in zip(found, written, strict=True)
    ]
    assert np.mean(right) >= EXPECTED


@pytest.mark.parametrize("kind", BLANK)
def test_on_a_blank_page_nothing_is_found(tmp_path, mnist, kind):
    for index in range(2):
        page = draw_page(kind, *mnist, np.random.default_rng([8, index]), blank=True)
        assert page.digits == []
        (tmp_path / "page.jpg").write_bytes(page.file)
        shown = read_file(tmp_path / "page.jpg", MNIST(root="nowhere"))
        assert [(part.image, part.box) for part in shown] == [(None, None)]
        assert shown[0].note


def blank(kind):
    """A page on which nothing is written, though something is to be seen."""
    page = Image.new("RGB", (700, 500), (235, 230, 220))
    pen = ImageDraw.Draw(page)
    if kind == "a stain":
        pen.ellipse((200, 150, 330, 330), (200, 196, 187))
    if kind == "a dash":
        pen.line((200, 250, 350, 253), (30, 30, 40), 9)
    if kind == "a block":
        pen.rectangle((300, 200, 380, 290), (30, 30, 40))
    if kind == "a shadow at the border":
        pen.polygon([(300, 0), (365, 0), (350, 110), (320, 110)], (150, 147, 140))
    if kind == "light between squares":
        pen.polygon([(0, 0), (700, 0), (700, 250), (0, 420)], (140, 138, 130))
        for at in range(30, 700, 66):
            pen.line((at, 0, at, 500), (90, 120, 190), 2)
            pen.line((0, at, 700, at), (90, 120, 190), 2)
    return page


@pytest.mark.parametrize(
    "kind",
    ["a stain", "a dash", "a block", "a shadow at the border", "light between squares"],
)
def test_what_is_not_written_is_not_found(tmp_path, kind):
    (shown,) = read_file(draw(tmp_path, blank(kind)), MNIST(root="nowhere"))
    assert (shown.image, shown.note) == (None, "there is nothing on it")


def test_blocks_of_a_poor_jpeg_file_are_not_found(tmp_path):
    rng = np.random.default_rng(0)
    for index in range(6):
        noise = rng.normal(0, 6, (537, 759, 3)) + np.linspace(190, 220, 759)[:, None]
        page = Image.fromarray(noise.clip(0, 255).astype(np.uint8))
        path = draw(tmp_path, page, f"{index}.jpg", quality=8)
        (shown,) = read_file(path, MNIST(root="nowhere"))
        assert (shown.image, shown.note) == (None, "there is nothing on it")


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_thin_digit_beside_a_thick_one_is_found(tmp_path, side):
    page = Image.new("L", (1000, 1000), 240)
    pen = ImageDraw.Draw(page)
    pen.line([(500, 430), (490, 570)], 90, 5)
    at = 360 if side == "left" else 635
    pen.line([(at, 430), (at - 5, 570)], 10, 30)
    assert len(read_file(draw(tmp_path, page), MNIST(root="nowhere"))) == 2


def test_the_generator_puts_boxes_where_the_ink_is(mnist):
    page = draw_page("several", *mnist, np.random.default_rng(3))
    gray = np.array(Image.open(io.BytesIO(page.file)).convert("L"), float)
    assert 2 <= len(page.digits) <= 12
    for _, (left, top, right, bottom) in page.digits:
        inside = gray[int(top) : int(bottom) + 1, int(left) : int(right) + 1]
        assert inside.min() < np.median(gray) - 40
    for left, top, right, bottom in (digit.box for digit in page.digits):
        gray[int(top) - 3 : int(bottom) + 4, int(left) - 3 : int(right) + 4] = np.median(gray)
    assert gray.min() > np.median(gray) - 60  # nothing is written elsewhere


def test_overlap_and_match():
    assert overlap((0, 0, 2, 2), (1, 0, 3, 2)) == pytest.approx(1 / 3)
    assert overlap((0, 0, 2, 2), (2, 0, 3, 2)) == 0
    digits = [type("W", (), {"box": box}) for box in ((0, 0, 10, 10), (20, 0, 30, 10))]
    assert match(digits, [(21, 0, 30, 10), (50, 0, 60, 9), (0, 1, 10, 10)]) == [2, 0]
    assert match(digits, [(0, 0, 3, 9)]) == [None, None]
    assert OVERLAP > 0


def draw(tmp_path, image, name="page.png", **options):
    image.save(tmp_path / name, **options)
    return tmp_path / name


@pytest.mark.parametrize("case", ["plain", "thin", "frame", "rules", "shadow", "red on green"])
def test_a_seven_is_prepared_as_mnist_is(tmp_path, case):
    image = seven(width=2 if case == "thin" else 14)
    pen = ImageDraw.Draw(image)
    if case == "frame":
        pen.rectangle((0, 0, 399, 299), outline="black", width=9)
    if case == "rules":
        for y in range(20, 300, 37):
            pen.line((0, y, 400, y), (60, 60, 60), 2)
    if case == "shadow":
        dark = np.linspace(1, 0.35, 400)[None, :, None]
        image = Image.fromarray((np.array(image) * dark).astype(np.uint8))
    if case == "red on green":
        image = seven(color=(255, 0, 0), paper=(0, 130, 0))
        assert np.ptp(np.array(image.convert("L"), int)) <= 1
    (shown,) = read_file(draw(tmp_path, image), MNIST(root="nowhere"))
    assert np.abs(np.subtract(shown.box, (97, 45, 224, 255))).max() < 9
    assert is_seven(shown.image)
    ink = shown.image[0].double() / 255
    rows_of, columns_of = (torch.arange(28) + 0.5 for _ in range(2))
    centre = [
        (ink.sum(axis) * of).sum() / ink.sum() for axis, of in ((1, rows_of), (0, columns_of))
    ]
    assert np.abs(np.subtract(centre, 14)).max() < 0.75
    # As strong as MNIST's, of whose images the mean is 0.13, whatever the pen.
    assert 0.06 < ink.mean() < 0.2


def test_digits_are_told_line_by_line_with_their_boxes(run_script, best, tmp_path):
    page = Image.new("L", (900, 600), 240)
    for x, y in ((500, 330), (80, 60), (600, 80), (350, 50), (120, 350)):
        page.paste(seven(mode="L", paper=240, color=20).crop((90, 30, 235, 270)), (x, y))
    draw(tmp_path, page)
    ended = run_script(main, best, "page.png")
    assert (ended.status, ended.err) == (0, "")
    found = rows(tmp_path / "predictions")
    places = [(int(row["left"]) - 10, int(row["top"]) - 20) for row in found]
    expected = [(80, 60), (350, 50), (600, 80), (120, 350), (500, 330)]
    assert np.abs(np.subtract(places, expected)).max() < 12
    assert {row["file"] for row in found} == {"page.png"}
    assert re.findall(r"page.png, (\d of \d): predicted", ended.out) == [
        f"{index} of 5" for index in range(1, 6)
    ]


@pytest.mark.parametrize(("count", "number"), [("one", 1), ("many", 3), ("auto", 2)])
def test_how_many_digits_there_are_can_be_said(run_script, best, tmp_path, count, number):
    image = Image.new("L", (500, 300), 250)
    pen = ImageDraw.Draw(image)
    pen.line([(60, 100), (60, 200), (140, 200), (140, 260), (60, 260)], 0, 12)  # a five's body
    pen.line([(60, 85), (140, 85)], 0, 12)  # and its stroke above
    pen.line([(300, 80), (300, 260)], 0, 12)
    draw(tmp_path, image)
    assert run_script(main, best, "page.png", "--digits", count).status == 0
    assert len(rows(tmp_path / "predictions")) == number


def test_a_row_of_digits_is_one_if_that_is_said(tmp_path):
    page = Image.new("L", (900, 400), 240)
    for left in range(100, 800, 140):
        ImageDraw.Draw(page).ellipse((left, 150, left + 80, 260), outline=20, width=12)
    path = draw(tmp_path, page)
    for count, number in (("one", 1), ("auto", 5), ("many", 5)):
        shown = read_file(path, MNIST(root="nowhere"), count=count)
        assert [part.image is not None for part in shown] == [True] * number
    assert shown[0].box[0] == pytest.approx(100, abs=4)


@pytest.mark.parametrize("corners", [0, 20])
def test_a_one_of_a_broad_marker_is_a_digit(tmp_path, corners):
    page = Image.new("L", (700, 500), 240)
    ImageDraw.Draw(page).rounded_rectangle((300, 200, 360, 320), corners, 20)
    (shown,) = read_file(draw(tmp_path, page), MNIST(root="nowhere"))
    assert shown.box == pytest.approx((300, 200, 361, 321), abs=4)


def test_what_cannot_be_answered_gets_a_note_and_no_class(run_script, best, tmp_path):
    rng = np.random.default_rng(0)
    draw(tmp_path, Image.new("RGB", (300, 200), "white"), "a_blank.png")
    small = Image.new("L", (900, 700), 255)
    ImageDraw.Draw(small).line((400, 300, 402, 305), 0, 1)
    draw(tmp_path, small, "b_small.png")
    full = Image.new("L", (1000, 800), 255)
    pen = ImageDraw.Draw(full)
    for x in range(15, 990, 30):
        for y in range(15, 790, 30):
            to = rng.integers(0, 10)
            pen.line((x + to, y, x + to + 3, y + 16), 0, 3)
    draw(tmp_path, full, "c_full.png")
    noise = Image.fromarray(rng.integers(0, 256, (300, 400, 3), np.uint8))
    draw(tmp_path, noise, "d_noise.png")
    draw(tmp_path, seven(), "e_seven.png")
    ended = run_script(main, best, ".", "--top_k", "2")
    assert (ended.status, ended.err) == (0, "")
    *others, last = rows(tmp_path / "predictions")
    assert [row["file"] for row in others] == [
        *("a_blank.png", "b_small.png", "c_full.png", "d_noise.png")
    ]
    for row in others:
        assert row["class_1"] == row["probability_1"] == row["class_2"] == ""
        assert row["note"]
        assert f"{row['file']}: no prediction: {row['note']}" in ended.out
    assert "more than a page" in others[2]["note"]
    assert (last["note"], bool(last["class_1"])) == ("", True)


def test_the_sheet_shows_the_photograph_beside_what_the_network_sees(tmp_path):
    page = seven(size=(800, 300))
    page.paste(seven().crop((90, 30, 235, 270)), (500, 30))
    shown = read_file(draw(tmp_path, page), MNIST(root="nowhere"))
    figure = draw_sheet([Prediction(part, ["7"], [0.9]) for part in shown])
    pictures = [axes.images[0].get_array() for axes in figure.axes if axes.images]
    assert [picture.shape for picture in pictures][1:] == [(28, 28)] * 2
    red = (np.array(pictures[0], int) @ (1, -1, 0)) > 150
    assert red.any()
    left = np.flatnonzero(red.any(0))[0] * 800 / pictures[0].shape[1]
    assert abs(left - shown[0].box[0]) < 8


def test_files_of_the_system_are_passed_over(run_script, best, tmp_path):
    (tmp_path / "photos").mkdir()
    draw(tmp_path / "photos", seven())
    for name in ("Thumbs.db", "desktop.ini", ".DS_Store", "ehthumbs.db", "DESKTOP.INI"):
        (tmp_path / "photos" / name).write_bytes(b"of the system")
    for given in (["photos"], sorted(map(str, (tmp_path / "photos").iterdir()))):
        ended = run_script(main, best, *given)
        assert (ended.status, ended.err) == (0, "")
        assert len(rows(tmp_path / "predictions")) == 1
    assert_one_line(run_script(main, best, "photos/Thumbs.db"), ["no files", "Thumbs.db"])


def test_of_several_pictures_the_first_is_taken_and_told(tmp_path):
    blank = Image.new("RGB", (400, 300), "white")
    for name in ("pages.tiff", "frames.gif"):
        path = draw(tmp_path, seven(), name, save_all=True, append_images=[blank, seven()])
        (shown,) = read_file(path, MNIST(root="nowhere"))
        assert is_seven(shown.image)
        assert "first of 3 pictures" in shown.note
        assert "first of 3" in Prediction(shown, ["7"], [1.0]).line


def test_heic_is_read_whatever_it_is_called(tmp_path):
    heif = pytest.importorskip("pillow_heif")
    heif.from_pillow(seven()).save(tmp_path / "seven.heic")
    os.rename(tmp_path / "seven.heic", tmp_path / "seven.jpg")
    (shown,) = read_file(tmp_path / "seven.jpg", MNIST(root="nowhere"))
    assert is_seven(shown.image)


def test_without_its_package_heic_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    (tmp_path / "photo.jpg").write_bytes(b"\0\0\0\x18ftypheic" + bytes(99))
    with pytest.raises(ImageError, match=r"HEIC.*pillow-heif"):
        read_image(tmp_path / "photo.jpg", Digits())


@pytest.mark.parametrize("kind", ["I;16", "F", "F below 1", "CMYK", "turned", "12 bits"])
def test_files_as_people_have_them(tmp_path, kind):
    gray = np.array(seven(mode="L", color=20, paper=240))
    options = {}
    if kind == "CMYK":
        image, name = seven(color=(200, 0, 0)).convert("CMYK"), "page.jpg"
    elif kind == "turned":
        image, name = seven().transpose(Image.Transpose.ROTATE_90), "page.jpg"
        options["exif"] = Image.Exif()
        options["exif"][0x0112] = 6  # to be turned by 90 degrees clockwise
    else:
        scaled = {
            "I;16": gray.astype(np.uint16) * 257,
            "12 bits": gray.astype(np.uint16) * 16,
            "F": gray.astype(np.float32),
            "F below 1": gray.astype(np.float32) / 255,
        }
        image, name = Image.fromarray(scaled[kind]), "page.tiff"
    (shown,) = read_file(draw(tmp_path, image, name, **options), MNIST(root="nowhere"))
    assert is_seven(shown.image)
    assert np.abs(np.subtract(shown.box, (97, 45, 224, 255))).max() < 9


def test_boxes_are_in_pixels_of_the_file_also_of_a_very_large_one(tmp_path):
    large = seven().resize((12_000, 9_000), Image.Resampling.NEAREST)
    path = draw(tmp_path, large, "page.jpg")
    with watched(tmp_path):
        (shown,) = read_file(path, MNIST(root="nowhere"))
    assert np.abs(np.subtract(np.divide(shown.box, 30), (97, 45, 224, 255))).max() < 9
    assert is_seven(shown.image)


@pytest.mark.parametrize("invert", ["auto", "yes", "no"])
def test_the_brightness_of_strokes_can_be_said(tmp_path, invert):
    light = seven(color="white", paper="black")
    for image, is_dark in ((seven(), True), (light, False)):
        shown = read_file(draw(tmp_path, image), MNIST(root="nowhere"), invert)
        is_found = shown[0].image is not None and is_seven(shown[0].image)
        assert is_found or invert == ("no" if is_dark else "yes")


def test_rules_of_a_page_that_is_askew_are_found():
    page = Image.new("L", (900, 700), 255)
    pen = ImageDraw.Draw(page)
    for y in range(-300, 1000, 50):
        pen.line((-300, y, 1200, y), 90, 2)
    turned = page.rotate(6, Image.Resampling.BICUBIC, fillcolor=255)
    cut = np.array(turned.crop((120, 120, 780, 580)), np.float32)[..., None] / 255
    ink = find_ink(cut, "auto")
    assert ink.angle == pytest.approx(6, abs=0.3)
    assert find_digits(cut) == []


def test_strokes_are_made_as_strong_as_a_pen_does():
    for width in (1, 40):
        image = Image.new("L", (200, 300), 0)
        ImageDraw.Draw(image).line([(30, 40), (170, 40), (80, 260)], 255, width)
        made = prepare(np.array(image, np.float32)[20:280] / 255, 28, 0.2) / 255
        assert 1.3 < made[14].sum() < 5.5


# Clothes


def shirt(paper, color=(40, 60, 130), size=(600, 800)):
    image = Image.new("RGB", size, paper)
    pen = ImageDraw.Draw(image)
    pen.rectangle((200, 200, 400, 600), color)
    pen.rectangle((100, 200, 500, 330), color)
    return image


@pytest.mark.parametrize("paper", ["white", (200, 220, 200), (90, 40, 40)])
def test_a_thing_on_an_even_background_is_cut_out(tmp_path, paper):
    (shown,) = read_file(draw(tmp_path, shirt(paper)), FashionMNIST(root="nowhere"))
    image = shown.image[0]
    assert shown.box == pytest.approx((100, 200, 501, 601), abs=4)
    assert (image[:, 13].count_nonzero(), image[2].count_nonzero()) == (28, 28)
    assert image[20:, :6].max() == 0
    assert image[14, 14].item() == pytest.approx(255 - 62, abs=12)  # its brightness, inverted


def test_what_is_not_on_an_even_background_is_not_cut_out(tmp_path):
    rng = np.random.default_rng(0)
    room = Image.fromarray(rng.integers(0, 256, (8, 6, 3), np.uint8)).resize((600, 800))
    room.paste(shirt("white").crop((100, 200, 500, 600)), (100, 200))
    (shown,) = read_file(draw(tmp_path, room), FashionMNIST(root="nowhere"))
    assert shown.image is None
    assert "background" in shown.note
    (shown,) = read_file(
        draw(tmp_path, Image.new("RGB", (300, 300), "white")), FashionMNIST(root="nowhere")
    )
    assert (shown.image, shown.note) == (None, "there is nothing on it")


def test_an_image_of_clothes_as_in_the_dataset_stays_as_it_is(tmp_path, data_root):
    data = FashionMNIST(root=data_root)
    data.setup("test")
    image = data.splits["test"].images[0]
    path = draw(tmp_path, Image.fromarray(image[0].numpy()))
    (shown,) = read_file(path, data)
    assert torch.equal(shown.image, image)
    # And as a large photograph of it: dark on white, and larger.
    photo = Image.fromarray(255 - image[0].numpy()).resize((280, 280), Image.Resampling.BICUBIC)
    (shown,) = read_file(draw(tmp_path, photo), data)
    rows_of, columns_of = (np.flatnonzero(image[0].numpy().max(axis)) for axis in (1, 0))
    cut = image[:, rows_of[0] : rows_of[-1] + 1, columns_of[0] : columns_of[-1] + 1]
    assert abs(shown.image.float().mean() - cut.float().mean() * cut[0].numel() / 784) < 25
