"""Generated dataset folders, mirrors, and return values of `load`."""

import gzip
import os
import tempfile
from pathlib import Path
from unittest import mock

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy

from datamodules import DatasetError, Digits
from datamodules.batches import Split
from datamodules.published_files import PublishedFiles
from tests.datamodules.mirror import NAMES, Mirror
from tests.fuzz.watching import contents, watched

BOMB = gzip.compress(bytes(60_000_000))
# Content of a file with a published name, and whether it is the published one.
STATES = {
    "published": (lambda path, gz: path.write_bytes(gz), True),
    "anew": (lambda path, gz: path.write_bytes(gzip.compress(gzip.decompress(gz), 1)), True),
    "extracted": (lambda path, gz: path.write_bytes(gzip.decompress(gz)), True),
    "a link": (lambda path, gz: path.symlink_to(_beside(path, gz)), True),
    "cut": (lambda path, gz: path.write_bytes(gz[: len(gz) // 2]), False),
    "flipped": (lambda path, gz: path.write_bytes(gz[:30] + bytes([gz[30] ^ 1]) + gz[31:]), False),
    "notes": (lambda path, gz: path.write_text("mine"), False),
    "empty": (lambda path, gz: path.touch(), False),
    "a bomb": (lambda path, gz: path.write_bytes(BOMB), False),
    "no gzip": (lambda path, gz: path.write_bytes(b"\x1f\x8b\x08\0\0"), False),
    "a pipe": (lambda path, gz: os.mkfifo(path), False),
    "a folder": (lambda path, gz: path.mkdir(), False),
    "a loop": (lambda path, gz: path.symlink_to(path), False),
    "a device": (lambda path, gz: path.symlink_to("/dev/zero"), False),
    "a dead link": (lambda path, gz: path.symlink_to("nowhere"), False),
}
MIRRORS = (
    *("sound", "drip", "endless", "silent", "cut", "portal", "nothing", "rubbish", "no such file"),
    *("to file:///etc/passwd", "to again", "to http://[", "to ftp://127.0.0.1/", "to "),
)
files = st.tuples(
    st.one_of(st.none(), st.just("published"), st.sampled_from(sorted(STATES))),
    st.one_of(st.none(), st.none(), st.sampled_from(sorted(STATES))),
)


def _beside(path, content):
    target = path.with_name(f"kept {path.name}")
    target.write_bytes(content)
    return target


@pytest.fixture(scope="module")
def mirror(tmp_path_factory):
    mirror = Mirror(tmp_path_factory.mktemp("served") / "mirror")
    yield mirror
    mirror.close()


@given(st.lists(files, min_size=4, max_size=4), st.lists(st.sampled_from(MIRRORS), max_size=3))
def test_files_are_the_published_ones_or_an_error_and_never_lost(mirror, states, kinds):
    published = {name: (mirror.folder / name).read_bytes() for name in NAMES}
    missing = []
    with (
        tempfile.TemporaryDirectory() as name,
        mock.patch("datamodules.published_files.PATIENCE", 0.2),
        mock.patch("datamodules.published_files.TIMEOUT", 0.2),
    ):
        folder = Path(name) / "raw"
        folder.mkdir()
        for file, (compressed, extracted) in zip(NAMES, states, strict=True):
            for path, state in ((folder / file, compressed), ((folder / file[:-3]), extracted)):
                if state:
                    STATES[state][0](path, published[file])
            is_there = STATES[compressed][1] if compressed else extracted == "extracted"
            if not is_there and (compressed or "sound" not in kinds):
                missing.append(file)
        before = contents(folder)
        mirrors = [mirror.hostile(kind) for kind in kinds]
        dataset = PublishedFiles(folder, mirrors, mirror.sums, mirror.contents)
        with watched(folder, [folder]):
            for part in ("train", "t10k"):
                needed = [file for file in NAMES if file.startswith(part)]
                if lacking := [file for file in needed if file in missing]:
                    with pytest.raises(DatasetError, match=lacking[0]):
                        dataset.read(part)
                    continue
                split = dataset.read(part)
                images, labels = (gzip.decompress(published[file]) for file in needed)
                assert split.images.numpy().tobytes() == images[16:]
                assert split.labels.tolist() == list(labels[8:])
        after = contents(folder)
    assert before.items() <= after.items()
    for file in after.keys() - before.keys():
        assert after[file] == (b"" if file.endswith(".lock") else published[file])


def mostly(usual, *others):
    """Something else one time in six: of several errors, only the first is reported."""
    return st.sampled_from([usual] * 5 * len(others) + [*others])


def tensors(dtype, shape, *shapes):
    dtypes = {torch.int32, torch.uint8, torch.int64, torch.float32, torch.bool} - {dtype}
    return st.builds(
        lambda dtype, shape, number, kind: kind(torch.full(shape, number).to(dtype)),
        mostly(dtype, *sorted(dtypes, key=str)),
        mostly(shape, *shapes),
        mostly(1, 0, 9, 10, 255, -1),
        mostly(
            lambda tensor: tensor,
            lambda tensor: tensor.to("meta"),
            lambda tensor: tensor.to_sparse(),
            lambda tensor: tensor.transpose(0, -1) if tensor.ndim else tensor,
            lambda tensor: tensor.numpy(),
            lambda tensor: [tensor],
        ),
    )


IMAGES = [(8, 3, 8, 8), (8, 0, 8, 8), (8, 8, 8), (0, 1, 8, 8), (8, 1, 8, 9), (8, 8, 8, 1), (8, 64)]
images = tensors(torch.uint8, (8, 1, 8, 8), *IMAGES)
labels = tensors(torch.int64, (8,), (9,), (0,), (8, 1), (8, 10), ())
splits = st.builds(
    lambda images, labels, kind: kind((images, labels)),
    images,
    labels,
    mostly(lambda pair: Split(*pair), tuple, list, lambda pair: pair[0], lambda pair: pair[:1]),
)
names = mostly(("train", "val", "test"), ("train",), ("val", "test"), ())
loads = st.builds(
    lambda names, split, kind: kind(dict.fromkeys(names, split)),
    *(names, splits, mostly(dict, list, lambda loaded: None)),
)


@given(loads, st.sampled_from(["fit", "test"]), st.sampled_from([1, 3]), st.sampled_from([1, 3, 8]))
def test_what_a_dataset_loads_is_refused_or_can_be_trained_on(loaded, stage, channels, size):
    data = Digits(channels=channels, image_size=size, batch_size=3)
    with mock.patch.object(Digits, "load", return_value=loaded), watched(Path("nowhere")):
        try:
            data.setup(stage)
        except DatasetError:
            return
        loader = data.train_dataloader() if stage == "fit" else data.test_dataloader()
        seen = 0
        for raw, targets in loader:
            prepared = data.preprocess_images(raw, stage == "fit")
            assert prepared.shape == (len(raw), channels, size, size)
            assert prepared.isfinite().all()
            assert prepared.min() > -data.mean / data.std - 1e-5  # black, by more than rounding
            assert cross_entropy(prepared.flatten(1).sum(1, True).expand(-1, 10), targets) > 0
            seen += len(targets)
    assert seen == len(loaded["train" if stage == "fit" else "test"][1])
