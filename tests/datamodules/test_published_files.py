"""Small files in the published format, from a mirror on loopback."""

import gzip
import hashlib
import struct
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import torch

from datamodules.published_files import DatasetError, PublishedFiles

NAMES = [
    f"{part}-{kind}-idx{rank}-ubyte.gz"
    for part in ("train", "t10k")
    for kind, rank in (("images", 3), ("labels", 1))
]


class Handler(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        self.server.requests.append(args)


@pytest.fixture
def mirror(tmp_path):
    """A folder with four small files, served on loopback: its address, requests and MD5 sums."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    rng = np.random.default_rng(0)
    sums = {}
    for name in NAMES:
        shape = (20, 28, 28) if "images" in name else (20,)
        values = rng.integers(0, 10, shape, dtype=np.uint8)
        header = struct.pack(f">HBB{len(shape)}I", 0, 8, len(shape), *shape)
        (folder / name).write_bytes(gzip.compress(header + values.tobytes()))
        sums[name] = hashlib.md5((folder / name).read_bytes()).hexdigest()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    server.requests = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    server.address = f"http://127.0.0.1:{server.server_port}/"
    server.sums = list(sums.items())
    server.folder = folder
    yield server
    server.shutdown()


@pytest.fixture
def whole(mirror, tmp_path):
    """A folder that has all files."""
    files = PublishedFiles(tmp_path / "raw", [mirror.address], mirror.sums)
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


@pytest.mark.parametrize("damage", ["truncated", "empty", "changed", "missing"])
def test_a_damaged_file_is_fetched_again(mirror, whole, damage):
    path = whole.folder / NAMES[0]
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(
            {"truncated": content[:-9], "empty": b"", "changed": content[:-1] + b"?"}[damage]
        )
    whole.read("train")
    assert path.read_bytes() == content
    assert len(mirror.requests) == 1


def test_offline_the_error_names_file_folder_and_way_out(mirror, whole):
    mirror.shutdown()
    mirror.server_close()
    (whole.folder / NAMES[2]).write_bytes(b"damaged")
    with pytest.raises(DatasetError) as caught:
        whole.ensure()
    message = str(caught.value)
    assert f"{NAMES[2]} is damaged in {whole.folder}" in message
    assert "configs/quickstart.yaml" in message
    assert (whole.folder / NAMES[2]).read_bytes() == b"damaged"
    whole.read("train")  # what is whole still works


def test_a_mirror_that_serves_something_else_is_not_believed(mirror, tmp_path):
    (mirror.folder / NAMES[0]).write_bytes(b"<html>captive portal</html>")
    files = PublishedFiles(tmp_path / "raw", [mirror.address], mirror.sums)
    with pytest.raises(DatasetError, match="wrong MD5 sum"):
        files.ensure()
    assert not (tmp_path / "raw" / NAMES[0]).exists()


def test_the_next_mirror_is_tried(mirror, tmp_path):
    files = PublishedFiles(tmp_path / "raw", ["http://127.0.0.1:9/", mirror.address], mirror.sums)
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


def test_two_processes_that_start_at_once_fetch_each_file_once(mirror, tmp_path):
    program = (
        "import sys; from pathlib import Path; from datamodules.published_files import *; "
        f"files = PublishedFiles(Path({str(tmp_path / 'raw')!r}), [{mirror.address!r}], "
        f"{mirror.sums!r}); sys.stdin.read(1); files.ensure(); "
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
