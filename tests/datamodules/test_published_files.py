"""Small files in the published format, from a local mirror."""

import gzip
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from datamodules import MNIST, FashionMNIST
from datamodules.published_files import DatasetError, PublishedFiles
from tests.datamodules.mirror import NAMES, Mirror
from tests.fuzz.watching import contents, watched


@pytest.fixture
def mirror(tmp_path):
    mirror = Mirror(tmp_path / "mirror")
    yield mirror
    mirror.close()


@pytest.fixture
def whole(mirror, tmp_path):
    """A folder with all files."""
    files = PublishedFiles(tmp_path / "raw", [mirror.address], mirror.sums, mirror.contents)
    files.ensure()
    mirror.requests.clear()
    return files


def test_files_are_downloaded_once_and_decoded(mirror, whole):
    content = gzip.decompress((mirror.folder / NAMES[0]).read_bytes())[16:]
    split = whole.read("train")
    assert split.images.shape == (20, 1, 28, 28)
    assert split.images.dtype == torch.uint8
    assert split.images.numpy().tobytes() == content
    assert split.labels.dtype == torch.int64
    assert split.labels.max() < 10
    assert not mirror.requests
    assert not list(whole.folder.glob("*ubyte"))  # nothing is extracted


def test_a_missing_file_is_downloaded_again(mirror, whole):
    path = whole.folder / NAMES[0]
    content = path.read_bytes()
    path.unlink()
    whole.read("train")
    assert path.read_bytes() == content
    assert len(mirror.requests) == 1


OTHER = {
    "truncated": lambda content: content[:-99],
    "empty": lambda content: b"",
    "changed": lambda content: content[:-1] + b"?",
    "of another dataset": lambda content: gzip.compress(bytes(99)),
    "a bomb": lambda content: gzip.compress(bytes(10**8)),
    "the user's own": lambda content: b"notes",
}


@pytest.mark.parametrize("kind", OTHER)
def test_the_users_own_file_is_refused_and_not_replaced(mirror, whole, kind):
    path = whole.folder / NAMES[0]
    path.write_bytes(OTHER[kind](path.read_bytes()))
    before = contents(whole.folder)
    for use in (whole.ensure, lambda: whole.read("train")):
        with pytest.raises(
            DatasetError, match=r"is not the published file.*--data\.root"
        ) as raised:
            use()
        assert f"--data datamodules.Idx --data.root {whole.folder}" in str(raised.value)
    assert contents(whole.folder) == before
    assert not mirror.requests


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink(path, path)])
def test_a_path_that_is_not_a_file_is_refused_too(mirror, whole, make):
    path = whole.folder / NAMES[0]
    path.unlink()
    make(path)
    with watched(whole.folder), pytest.raises(DatasetError, match="is not the published file"):
        whole.ensure()
    assert not mirror.requests


@pytest.mark.parametrize("kind", ["extracted", "compressed anew"])
def test_the_same_content_extracted_or_compressed_again_is_accepted(mirror, whole, kind):
    expected = whole.read("train")
    path = whole.folder / NAMES[0]
    extracted = gzip.decompress(path.read_bytes())
    if kind == "extracted":
        path.unlink()
        path.with_suffix("").write_bytes(extracted)
    else:
        path.write_bytes(gzip.compress(extracted, compresslevel=1, mtime=1))
    before = contents(whole.folder)
    whole.ensure()
    found = whole.read("train")
    assert torch.equal(found.images, expected.images)
    assert contents(whole.folder) == before
    assert not mirror.requests


@pytest.mark.parametrize("name", ["MNIST", "FashionMNIST"])
def test_the_sums_are_those_of_the_published_files(data_root, name):
    data = {"MNIST": MNIST, "FashionMNIST": FashionMNIST}[name](root=data_root)
    assert data.contents.keys() == dict(data.resources).keys()
    for file, md5 in data.contents.items():
        content = gzip.decompress((Path(data_root) / name / "raw" / file).read_bytes())
        assert hashlib.md5(content).hexdigest() == md5


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("drip", "bytes in 0.5 seconds"),
        ("endless", "more than 3,000,000 bytes"),
        ("to file:///etc/passwd", "file:///etc/passwd"),
        ("to ftp://127.0.0.1/", "redirects to ftp://127.0.0.1/"),
        ("to http://[", ""),
        ("to again", "infinite loop"),
        ("rubbish", ""),
        ("nothing", ""),
    ],
)
def test_after_a_mirror_of_any_kind_the_next_one_is_tried(
    mirror, tmp_path, monkeypatch, kind, said
):
    monkeypatch.setattr("datamodules.published_files.PATIENCE", 0.5)
    monkeypatch.setattr("datamodules.published_files.LARGEST", 3_000_000)
    with watched(tmp_path, [tmp_path]):
        address = mirror.hostile(kind)
        alone = PublishedFiles(tmp_path / "a", [address], mirror.sums, mirror.contents)
        with pytest.raises(DatasetError, match="could not be downloaded") as raised:
            alone.ensure()
        assert said in str(raised.value)
        both = [address, mirror.address]
        files = PublishedFiles(tmp_path / "b", both, mirror.sums[:1], mirror.contents)
        files.ensure()
    assert [path.name for path in (tmp_path / "b").glob("*.gz")] == [NAMES[0]]


def test_offline_the_error_names_file_folder_and_way_out(mirror, whole):
    mirror.close()
    (whole.folder / NAMES[2]).unlink()
    with pytest.raises(DatasetError) as caught:
        whole.ensure()
    message = str(caught.value)
    assert f"{NAMES[2]} is missing in {whole.folder}" in message
    assert "configs/quickstart.yaml" in message
    whole.read("train")  # complete files still work


def test_a_mirror_with_other_content_is_not_trusted(mirror, tmp_path):
    (mirror.folder / NAMES[0]).write_bytes(b"<html>captive portal</html>")
    files = PublishedFiles(tmp_path / "raw", [mirror.address], mirror.sums, mirror.contents)
    with pytest.raises(DatasetError, match="wrong MD5 sum"):
        files.ensure()
    assert not (tmp_path / "raw" / NAMES[0]).exists()


def test_the_next_mirror_is_tried(mirror, tmp_path):
    files = PublishedFiles(
        tmp_path / "raw", ["http://127.0.0.1:9/", mirror.address], mirror.sums, mirror.contents
    )
    files.ensure()
    assert len(files.read("t10k").labels) == 20


def test_a_read_only_folder_is_enough(mirror, whole, tmp_path):
    before = sorted(path.name for path in whole.folder.iterdir())
    whole.folder.chmod(0o555)
    for path in whole.folder.iterdir():
        path.chmod(0o444)
    try:
        whole.ensure()
        whole.read("train")
        assert sorted(path.name for path in whole.folder.iterdir()) == before
    finally:
        whole.folder.chmod(0o755)


def test_two_processes_that_start_at_once_download_each_file_once(mirror, tmp_path):
    program = (
        "import sys; from pathlib import Path; from datamodules.published_files import *; "
        f"files = PublishedFiles(Path({str(tmp_path / 'raw')!r}), [{mirror.address!r}], "
        f"{mirror.sums!r}, {mirror.contents!r}); sys.stdin.read(1); files.ensure(); "
        "print(len(files.read('train').labels))"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    outputs = [process.communicate("go", timeout=100)[0] for process in processes]
    assert outputs == ["20\n", "20\n"]
    assert len(mirror.requests) == len(NAMES)
    assert sorted(p.name for p in (tmp_path / "raw").glob("*.gz")) == sorted(NAMES)
