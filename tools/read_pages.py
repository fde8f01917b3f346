"""Measures how well digits are found and read on generated pages, kind by kind.

    python -m tools.read_pages runs/lenet/1/checkpoints/best.ckpt --pages 500

The pages are drawn by tests/pages.py with digits of MNIST's test set, written as JPEG files and
read as `predict.py` reads them. A digit counts as right if a box lies on it, by an intersection
over union above 0.3, whose first class is its label. The rows are those of docs/photographs.md.
"""

import argparse
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from inference.images import Box, read_file
from inference.loading import load
from inference.predictions import predict
from tests.pages import BLANK, KINDS, Written, draw_page

OVERLAP = 0.3


class Counts(NamedTuple):
    """What became of the digits of some pages."""

    pages: int = 0
    digits: int = 0
    found: int = 0
    right: int = 0
    extra: int = 0  # answers where nothing is written
    in_order: int = 0  # pages whose digits are told in reading order

    def __add__(self, other: tuple) -> "Counts":
        return Counts(*map(sum, zip(self, other, strict=True)))


def match(written: list[Written], boxes: list[Box]) -> list[int | None]:
    """For each digit the index of the box that lies on it best, each used once."""
    free, matches = set(range(len(boxes))), []
    for digit in written:
        best = max(free, key=lambda index: overlap(digit.box, boxes[index]), default=None)
        is_on_it = best is not None and overlap(digit.box, boxes[best]) > OVERLAP
        matches.append(best if is_on_it else None)
        free.discard(matches[-1])
    return matches


def overlap(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    """Intersection over union of two boxes left, top, right, bottom."""
    across, down = (min(a[k + 2], b[k + 2]) - max(a[k], b[k]) for k in (0, 1))
    both = max(across, 0) * max(down, 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return both / (sum(areas) - both) if both else 0.0


def measure(checkpoint: Path, kind: str, seeds: list[list[int]], blank: bool) -> Counts:
    """Draws a page for each seed and has it read."""
    torch.set_num_threads(1)
    classifier, data = load(checkpoint)
    data.prepare_data()
    data.setup("test")
    images, labels = (values.numpy() for values in data.splits["test"])
    counts = Counts()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "page.jpg"
        for seed in seeds:
            page = draw_page(kind, images[:, 0], labels, np.random.default_rng(seed), blank)
            path.write_bytes(page.file)
            answers = predict(classifier, data, read_file(path, data), top_k=1)
            answers = [answer for answer in answers if answer.classes]
            matches = match(page.digits, [answer.shown.box for answer in answers])
            at = [index for index in matches if index is not None]
            right = sum(
                index is not None and answers[index].classes[0] == str(digit.label)
                for digit, index in zip(page.digits, matches, strict=True)
            )
            extra, in_order = len(answers) - len(at), at == sorted(at)
            counts += (1, len(page.digits), len(at), right, extra, in_order)
    return counts


def rows(
    checkpoint: Path, kinds: list[str], pages: int, blank: int, seed: int, processes: int
) -> Iterator[str]:
    """The rows of the table, as they are done."""
    yield "| kind of page | digits | found | right | answers too many | pages in order |"
    yield "|---|---|---|---|---|---|"
    blanks = [f"blank: {kind}" for kind in BLANK] if blank else []
    with ProcessPoolExecutor(processes) as pool:
        for name in (*kinds, *blanks):
            kind, is_blank = name.removeprefix("blank: "), name.startswith("blank: ")
            number = -(-blank // len(BLANK)) if is_blank else pages
            seeds = [[seed, KINDS.index(kind), index] for index in range(number)]
            parts = [
                pool.submit(measure, checkpoint, kind, seeds[part::processes], is_blank)
                for part in range(processes)
            ]
            counts = sum((part.result() for part in parts), Counts())
            of_digits = [f"{n / counts.digits:.1%}" if counts.digits else "-" for n in counts[2:4]]
            in_order = f"{counts.in_order / counts.pages:.1%}"
            cells = [f"{name} ({counts.pages})", counts.digits, *of_digits, counts.extra, in_order]
            yield f"| {' | '.join(map(str, cells))} |"


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--pages", type=int, default=500, help="of each kind")
    parser.add_argument("--blank", type=int, default=100, help="pages without a digit")
    parser.add_argument("--seed", type=int, default=2)
    parser.add_argument("--kinds", nargs="*", default=list(KINDS), choices=KINDS)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    for row in rows(**vars(options)):
        print(row, flush=True)


if __name__ == "__main__":
    main()
