"""Time and memory of `predict.py` on a folder of photographs of 3 megapixels.

    python -m benchmarks.photographs CHECKPOINT [--root DIR] [--pictures 1000] [--json FILE]

The pages are drawn by tests/pages.py with digits of MNIST's test set, half of them with one digit
and half with several, and copied until there are enough. The time is that of the whole process.
"""

import io
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.report import benchmark_parser, report, write_json
from datamodules import MNIST
from tests.pages import draw_page

ROOT = Path(__file__).parent.parent
SIZE = (2000, 1500)
PAGES = 50
KINDS = ("everything", "several, everything")


def draw_pages(folder: Path, pictures: int, root: Path) -> None:
    data = MNIST(root=root)
    data.prepare_data()
    data.setup("test")
    images, labels = (values.numpy() for values in data.splits["test"])
    for index in range(pictures):
        path = folder / f"{index}.jpg"
        if index < PAGES:
            rng = np.random.default_rng([1, index])
            page = draw_page(KINDS[index % 2], images[:, 0], labels, rng)
            Image.open(io.BytesIO(page.file)).resize(SIZE).save(path, quality=90)
        else:
            shutil.copy(folder / f"{index % PAGES}.jpg", path)


def used(*command: str) -> tuple[float, float, float]:
    """Seconds, processor seconds and the peak of the memory in MiB of a command."""
    start = time.perf_counter()
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"predict.py ended with status {process.returncode}")
    seconds = time.perf_counter() - start
    return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main() -> None:
    parser = benchmark_parser(__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--pictures", type=int, default=1000)
    parser.set_defaults(rounds=1)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        photographs, out = Path(folder, "photographs"), Path(folder, "out")
        photographs.mkdir()
        draw_pages(photographs, args.pictures, args.root)
        script = [sys.executable, "predict.py", str(args.checkpoint.resolve())]
        rounds = [used(*script, str(photographs), "--out", str(out)) for _ in range(args.rounds)]
    title = f"predict.py on {args.pictures:,} photographs of 3 megapixels"
    names = ("seconds", "seconds of the processors", "MiB of memory, at most")
    figures = zip(names, zip(*rounds, strict=True), strict=True)
    write_json(args.json, [report(title, name, {"predict.py": values}) for name, values in figures])


if __name__ == "__main__":
    main()
