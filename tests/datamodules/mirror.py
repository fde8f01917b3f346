"""A local web server of small files in the published format, or of anything else."""

import contextlib
import gzip
import hashlib
import struct
import threading
import time
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote, unquote

import numpy as np

NAMES = [
    f"{part}-{kind}-idx{rank}-ubyte.gz"
    for part in ("train", "t10k")
    for kind, rank in (("images", 3), ("labels", 1))
]


class Mirror:
    """A folder with four files of 20 images, served.

    Attributes:
        folder: Folder of the files.
        address: URL of the server.
        requests: Paths of all requests.
        sums, contents: MD5 sums of the files and of their extracted content, by file name.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self.requests: list[str] = []
        self.contents: dict[str, str] = {}
        rng = np.random.default_rng(0)
        for name in NAMES:
            shape = (20, 28, 28) if "images" in name else (20,)
            values = rng.integers(0, 10, shape, dtype=np.uint8)
            header = struct.pack(f">HBB{len(shape)}I", 0, 8, len(shape), *shape)
            (folder / name).write_bytes(gzip.compress(header + values.tobytes()))
            self.contents[name] = hashlib.md5(header + values.tobytes()).hexdigest()
        self.sums = [
            (name, hashlib.md5((folder / name).read_bytes()).hexdigest()) for name in NAMES
        ]
        self.is_over = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.mirror = self
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.address = f"http://127.0.0.1:{self._server.server_port}/"

    def hostile(self, kind: str) -> str:
        """Address of a mirror that answers in one of `_Handler.answer`'s ways."""
        return f"{self.address}{quote(kind, safe='')}/"

    def close(self) -> None:
        if not self.is_over.is_set():
            self.is_over.set()
            self._server.shutdown()
            self._server.server_close()


class _Handler(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        mirror = self.server.mirror
        *kinds, name = self.path.strip("/").split("/")
        if not kinds:
            mirror.requests.append(name)
        content = (mirror.folder / name).read_bytes() if name in NAMES else b""
        with contextlib.suppress(OSError):  # the client has closed the connection
            self.answer(unquote(kinds[0]) if kinds else "sound", content)

    def answer(self, kind: str, content: bytes) -> None:
        is_over = self.server.mirror.is_over
        if kind.startswith("to "):
            self.send_response(302)
            self.send_header("Location", kind.removeprefix("to "))
            self.end_headers()
        elif kind == "rubbish":
            self.wfile.write(b"\xff\0\n\n")
        elif kind == "silent":
            is_over.wait()
        elif kind == "no such file":
            self.send_error(404)
        elif kind in ("drip", "endless"):
            self.send_response(200)
            self.end_headers()
            while not is_over.is_set():
                self.wfile.write(b"0" * (1 if kind == "drip" else 10**6))
                self.wfile.flush()
                time.sleep(0.1 if kind == "drip" else 0)
        elif kind != "nothing":
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write({"cut": content[:-9], "portal": b"<html>"}.get(kind, content))
