"""Generated image files, beside a valid one."""

import csv
import io
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import predict
from tests.fuzz.running import run_watched
from tests.fuzz.watching import contents

SOUND = "a sound one.png"
FORMATS = {
    "PNG": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"),
    "JPEG": ("L", "RGB", "CMYK"),
    "TIFF": ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "F", "I", "I;16", "LAB", "YCbCr"),
    "GIF": ("1", "L", "P", "RGB"),
    "BMP": ("1", "L", "P", "RGB", "RGBA"),
    "WEBP": ("L", "RGB", "RGBA"),
    "PPM": ("1", "L", "RGB", "I", "F"),
    **dict.fromkeys(("EPS", "PDF", "ICO", "TGA", "PCX", "ICNS"), ("RGB",)),
}
RAW = (
    *(
        b"",
        b"notes",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n/x {run} def\n",
        b"\xff\xd8",
    ),
    *(b"P5 99999 99999 255\n", b"P6 -1 3 255\n", b"P5 8 8 65535\n" + bytes(128), b"BM" + bytes(60)),
    *(b"\0\0\0\x18ftypheic" + bytes(9), b"II*\0\x08\0\0\0\xff\xff", b"GIF89a\xff\xff\xff\xff" * 9),
    *(
        b"RIFF\xff\xff\xff\xffWEBPVP8L" + bytes(30),
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\x7f\xff\xff\xff" * 2,
    ),
    *(b"<svg onload='x'/>", b"PK\x03\x04" + bytes(30)),
)
SIDES = (1, 2, 8, 27, 28, 29, 300, 70_000)
NAMES = st.one_of(
    st.sampled_from(
        [
            *(b"photo.png", b"b.jpg", b"c", b".hidden.png", b"Thumbs.db", b"-x.png", b"--out"),
            *(b"a\nb.png", b"\x1b[31mred.png", b"\xff\xfe.png", b"=1+1.png", b"$\\frac$.png"),
            *("é\u202egnp.exe".encode(), b"[red]x[/red].png", b'a,b"c.png', b"x" * 255),
        ]
    ),
    st.binary(min_size=1, max_size=12),
)


def picture(kind, width, height, values, turned):
    """An image file of a format and mode, of noise or plain."""
    form, mode = kind
    if width * height > 5_000_000:
        height = 1
    rng = np.random.default_rng(values)
    gray = Image.fromarray(rng.integers(0, 1 + 255 * (values > 0), (height, width), np.uint8))
    image = Image.new(mode, gray.size) if mode in ("I;16", "LAB") else gray.convert(mode)
    exif = Image.Exif()
    exif[274] = turned
    file = io.BytesIO()
    options = {"exif": exif} if form in ("JPEG", "PNG", "TIFF", "WEBP") else {}
    try:
        image.save(file, form, **options)
    except (OSError, ValueError, OverflowError):  # a side that this format does not have
        return b""
    return file.getvalue()


whole = st.one_of(
    st.builds(
        picture,
        st.sampled_from([(form, mode) for form, modes in FORMATS.items() for mode in modes]),
        *(st.sampled_from(SIDES), st.sampled_from(SIDES), st.integers(0, 3), st.integers(0, 9)),
    ),
    st.sampled_from(RAW),
)
damages = st.one_of(
    st.none(), st.none(), st.tuples(st.sampled_from(["cut", "flip", "insert"]), st.floats(0, 1))
)
files = st.one_of(
    st.tuples(st.just("file"), whole, damages),
    st.tuples(st.just("file"), whole, damages),
    st.tuples(
        st.sampled_from(["pipe", "folder", "loop", "device", "dead link", "unreadable", "deep"]),
        st.none(),
        st.none(),
    ),
)
options = st.lists(
    st.one_of(
        st.tuples(st.just("--invert"), st.sampled_from(["yes", "no", "auto"])),
        st.tuples(st.just("--top_k"), st.sampled_from(["1", "10", "11", "0", "-1", "x", "1e3"])),
        st.tuples(st.just("--out"), st.sampled_from(["out", "images", "taken", "pipe", "new/er"])),
    ),
    max_size=2,
)


def make(path, kind, content, damage):
    if kind == "file":
        content = bytearray(content)
        if damage and content:
            how, where = damage
            at = int((len(content) - 1) * where)
            content[at] ^= 1 << at % 8
            content = {"cut": content[:at], "insert": content[:at] + b"\xff" + content[at:]}.get(
                how, content
            )
        path.write_bytes(content)
    elif kind == "unreadable":
        path.touch(0)
    elif kind == "deep":
        path.mkdir()
        (path / "a").symlink_to(path)
    else:
        {"pipe": os.mkfifo, "folder": os.mkdir}.get(
            kind,
            lambda path: path.symlink_to(
                {"loop": path, "device": "/dev/zero"}.get(kind, "nowhere")
            ),
        )(path)


@pytest.fixture(scope="module")
def best(digits_run):
    return digits_run / "checkpoints" / "best.ckpt"


@pytest.fixture(scope="module")
def answer(best, tmp_path_factory):
    """The row of the valid image, alone."""
    folder = tmp_path_factory.mktemp("alone")
    draw(folder / SOUND)
    run_watched(predict.main, best, SOUND, "--top_k", "1", inputs=folder, writable=[folder])
    return table(folder / "predictions")[SOUND]


def draw(path):
    image = np.zeros((28, 28), np.uint8)
    image[4:24, 13:16] = 255  # a one
    Image.fromarray(image).save(path)


def table(folder):
    with open(folder / "predictions.csv", encoding="utf-8", newline="") as file:
        return {row["file"]: row["class_1"] for row in csv.DictReader(file)}


@given(st.lists(st.tuples(NAMES, files), max_size=4), options)
def test_one_bad_image_hides_no_other(best, answer, made, options):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images = folder / "images"
        images.mkdir()
        draw(images / SOUND)
        (folder / "taken").write_text("mine")
        os.mkfifo(folder / "pipe")
        for file_name, made_of in made:
            path = images / os.fsdecode(file_name.translate(None, b"\0/"))
            if not os.path.lexists(path):
                make(path, *made_of)
        before = contents(folder)
        chosen = dict(options)
        out = folder / chosen.get("--out", "predictions")
        ended = run_watched(
            *(predict.main, best, "images", *sum(options, ())),
            inputs=folder,
            writable=[out, folder / "new"],
        )
        after = contents(folder)
        if out.is_dir() and (out / "predictions.csv").exists():
            assert table(out)[f"images/{SOUND}"] == answer or chosen.get("--invert") == "yes"
        else:
            assert ended.status == 2
            assert after == before
    written = {str(path.relative_to(folder)) for path in (out, out.parent)} | {
        str((out / f"predictions.{ending}").relative_to(folder)) for ending in ("csv", "png")
    }
    assert before.items() <= after.items()
    assert after.keys() - before.keys() <= written
