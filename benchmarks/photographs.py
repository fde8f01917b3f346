"""Time and memory of `predict.py` on a folder of photographs of 3 megapixels.

    python -m benchmarks.photographs CHECKPOINT [--root DIR] [--pictures 1000] [--json FILE]

The pages are drawn by tests/pages.py with digits of MNIST's test set, half of them with one digit
and half with several, and copied until there are enough. The time is that of the whole process.
"""

import io
import json
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


# The process tells its own figures, as Windows has no other way.
MEASURED = """
import json, runpy, sys, time
sys.path.insert(0, "")
file, *sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
import torch
from terminal.devices import peak_memory_bytes
figures = time.process_time(), peak_memory_bytes(torch.device("cpu")) / 2**20
with open(file, "w", encoding="utf-8") as told:
    json.dump(figures, told)
"""


def used(folder: Path, *command: str) -> tuple[float, float, float]:
    """Seconds, processor seconds and the peak of the memory in MiB of a script."""
    told = folder / "used.json"
    start = time.perf_counter()
    measured = [sys.executable, "-c", MEASURED, str(told), *command]
    subprocess.run(measured, cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start, *json.loads(told.read_text(encoding="utf-8"))


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
        script = ("predict.py", str(args.checkpoint.resolve()), str(photographs), "--out", str(out))
        rounds = [used(Path(folder), *script) for _ in range(args.rounds)]
    title = f"predict.py on {args.pictures:,} photographs of 3 megapixels"
    names = ("seconds", "seconds of the processors", "MiB of memory, at most")
    figures = zip(names, zip(*rounds, strict=True), strict=True)
    write_json(args.json, [report(title, name, {"predict.py": values}) for name, values in figures])


if __name__ == "__main__":
    main()
