"""Speed of batches up to the device, against torchvision's dataset with PIL transforms.

    python -m benchmarks.data [--root DIR] [--rounds 5] [--json FILE]

Batches of 128, normalised, in float32: unchanged, unchanged while two other processes keep two
cores busy, with random crop and flip, and resized to 96 and 224. The peer is
`torchvision.datasets.FashionMNIST` with the same transforms in a `DataLoader` with no workers, with
two and with one per core. Both run in turns; ratios are of the medians.
"""

import gzip
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import kornia.augmentation as kornia
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from benchmarks.report import benchmark_parser, report, write_json
from datamodules import FashionMNIST
from datamodules.augmentation import RandomCrop
from terminal.devices import best_device, synchronize, usable_processors

BATCH = 128
CASES = {  # image size, whether cropped and mirrored, busy cores, images to time: ours, the peer's
    "28 x 28": (28, False, 0, 55_000, 5_000),
    "28 x 28 on a busy machine": (28, False, 2, 55_000, 5_000),
    "28 x 28, random crop and flip": (28, True, 0, 55_000, 5_000),
    "96 x 96": (96, False, 0, 10_000, 3_000),
    "224 x 224": (224, False, 0, 4_000, 2_000),
}
# Keeps a core busy until standard input ends, as it does with the process that holds its other end.
SPIN = """
import sys, threading

def spin():
    while True:
        pass

threading.Thread(target=spin, daemon=True).start()
sys.stdin.buffer.read()
"""


def extract(root: Path, folder: Path) -> None:
    """Puts the published files where torchvision looks for them."""
    raw = folder / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for file in (root / "FashionMNIST" / "raw").glob("*.gz"):
        (raw / file.stem).write_bytes(gzip.decompress(file.read_bytes()))


def our_batches(data: FashionMNIST, device: torch.device) -> Iterator[Tensor]:
    """The batches that a training step gets from the Trainer."""
    for images, _ in data.train_dataloader():
        yield data.preprocess_images(images.to(device, non_blocking=True), is_training=True)


def peer_batches(loader: DataLoader, device: torch.device) -> Iterator[Tensor]:
    for images, _ in loader:
        yield images.to(device, non_blocking=True)


def images_per_second(batches: Iterable[Tensor], most: int) -> float:
    """Images per second of the batches, measured until `most` images are seen."""
    seen, start = 0, time.perf_counter()
    for images in batches:
        seen += len(images)
        if seen >= most:
            break
    synchronize(best_device())
    return seen / (time.perf_counter() - start)


@contextmanager
def busy(cores: int) -> Iterator[None]:
    """Keeps `cores` cores busy, as other users of the machine do."""
    command = [sys.executable, "-c", SPIN]
    spinning = [subprocess.Popen(command, stdin=subprocess.PIPE) for _ in range(cores)]
    try:
        yield
    finally:
        for process in spinning:
            process.kill()
            process.wait()


def main() -> None:
    parser = benchmark_parser(__doc__)
    args = parser.parse_args()
    device = best_device()
    workers = sorted({0, 2, usable_processors()})
    content = []
    with tempfile.TemporaryDirectory() as folder:
        extract(args.root, Path(folder))
        for case, (size, is_augmented, cores, ours, theirs) in CASES.items():
            data = FashionMNIST(
                root=str(args.root),
                batch_size=BATCH,
                image_size=size,
                augment=[RandomCrop(2), kornia.RandomHorizontalFlip()] if is_augmented else None,
            )
            data.setup("fit")
            random = [transforms.RandomCrop(28, padding=2), transforms.RandomHorizontalFlip()]
            resize = [transforms.Resize(size)] if size != 28 else []
            to_tensor = [transforms.ToTensor(), transforms.Normalize(data.mean, data.std)]
            chain = transforms.Compose([*(random if is_augmented else []), *resize, *to_tensor])
            peer = datasets.FashionMNIST(folder, transform=chain)
            rates: dict[str, list[float]] = {"ours": []}
            with busy(cores):
                for _ in range(args.rounds):
                    rates["ours"].append(images_per_second(our_batches(data, device), ours))
                    for count in workers:
                        loader = DataLoader(peer, BATCH, shuffle=True, num_workers=count)
                        rate = images_per_second(peer_batches(loader, device), theirs)
                        rates.setdefault(f"torchvision + PIL, {count} workers", []).append(rate)
            content.append(report(f"batches of {BATCH} at {case}", "images/s", rates))
    write_json(args.json, content)


if __name__ == "__main__":
    main()
