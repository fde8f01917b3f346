"""Images per second out of the data loader, against torchvision's dataset.

    python -m benchmarks.data [--root DIR] [--rounds 5] [--json FILE]

Batches of 128 images at 28 x 28 in one process: ours as uint8 tensors, which is how they travel;
the peer is `torchvision.datasets.FashionMNIST` with `ToTensor` in a `DataLoader` without workers.
They take turns, and the ratio is that of the medians.
"""

import argparse
import gzip
import tempfile
import time
from pathlib import Path

from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from benchmarks.report import report
from datamodules import FashionMNIST

BATCH = 128


def extract(root: Path, folder: Path) -> None:
    """Puts the published files where torchvision looks for them."""
    raw = folder / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for file in (root / "FashionMNIST" / "raw").glob("*.gz"):
        (raw / file.stem).write_bytes(gzip.decompress(file.read_bytes()))


def images_per_second(loader: DataLoader, most: int) -> float:
    """Rate at which batches leave a loader, over at most `most` images."""
    seen, start = 0, time.perf_counter()
    for images, _ in loader:
        seen += len(images)
        if seen >= most:
            break
    return seen / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=Path("data"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()

    data = FashionMNIST(root=str(args.root), batch_size=BATCH)
    data.prepare_data()
    data.setup("fit")
    with tempfile.TemporaryDirectory() as folder:
        extract(args.root, Path(folder))
        peer = datasets.FashionMNIST(folder, transform=transforms.ToTensor())
    loaders = {
        "ours": data.train_dataloader(),
        "torchvision + PIL, 0 workers": DataLoader(peer, BATCH, shuffle=True),
    }
    rates: dict[str, list[float]] = {name: [] for name in loaders}
    for _ in range(args.rounds):
        rates["ours"].append(images_per_second(loaders["ours"], 55_000))
        name = "torchvision + PIL, 0 workers"
        rates[name].append(images_per_second(loaders[name], 10_000))
    report("batches of 128 at 28 x 28", "images/s", rates, args.json)


if __name__ == "__main__":
    main()
