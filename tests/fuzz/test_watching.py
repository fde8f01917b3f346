"""The monitor detects all forbidden effects."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress

import pytest

from tests.fuzz.watching import Caught, contents, watched


def test_allowed_reads_and_writes_pass(tmp_path):
    with watched(tmp_path, writable=[tmp_path]):
        (tmp_path / "a").write_text("1")
        (tmp_path / "a").rename(tmp_path / "b")
        (tmp_path / "b").read_text()
        (tmp_path / "b").unlink()


@pytest.mark.parametrize(
    "act",
    [
        lambda folder: (folder.parent / "outside").write_text("1"),
        lambda folder: (folder.parent / "outside").mkdir(),
        lambda folder: os.symlink(folder, folder.parent / "outside"),
        lambda folder: (folder / "a").rename(folder.parent / "outside"),
        lambda folder: (folder.parent / "here").unlink(),
        lambda folder: subprocess.run(["true"]),
        lambda folder: os.system("true"),
        lambda folder: socket.create_connection(("example.invalid", 80)),
        lambda folder: urllib.request.urlopen("http://example.invalid/"),
        lambda folder: __import__("evil_input"),
    ],
)
def test_forbidden_effects_are_caught(tmp_path, monkeypatch, act):
    folder = tmp_path / "inputs"
    folder.mkdir()
    (folder / "a").touch()
    (tmp_path / "here").touch()
    (folder / "evil_input.py").write_text("")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    with pytest.raises(Caught), watched(folder, writable=[folder]), suppress(BaseException):
        act(folder)  # also if the code has caught it
    assert not (tmp_path / "outside").exists()
    assert (tmp_path / "here").exists()


def test_what_takes_too_long_is_caught(tmp_path, monkeypatch):
    monkeypatch.setattr("tests.fuzz.watching.SECONDS", 0.2)
    with pytest.raises(Caught, match="more than"), watched(tmp_path):
        time.sleep(10)


def test_what_takes_much_memory_is_caught_whatever_was_used_before(tmp_path, monkeypatch):
    monkeypatch.setattr("tests.fuzz.watching.BYTES", 100_000_000)
    assert bytes(b"1" * 500_000_000)
    with watched(tmp_path):
        assert b"1" * 50_000_000
    for _ in range(2):  # the first does not hide the second
        with pytest.raises(Caught, match="GB"), watched(tmp_path):
            assert b"1" * 200_000_000


def test_the_contents_of_a_folder_are_listed(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_bytes(b"1")
    (tmp_path / "link").symlink_to("folder")
    os.mkfifo(tmp_path / "fifo")
    assert contents(tmp_path) == {
        "fifo": "special",
        "folder": "folder",
        "folder/file": b"1",
        "link": "link to folder",
    }
