"""Speed on a folder of photographs: our `ImageFolder`, decoded once, against torchvision's.

    python -m benchmarks.folders [--images 50000] [--size 64] [--rounds 3]

Makes JPEGs in a temporary folder. Both give normalised float batches of 128, shuffled. Ours decodes
at the first start and reuses the result at the second. torchvision decodes in every epoch.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from datamodules import ImageFolder
from terminal.console import print_table

BATCH = 128
CLASSES = 10
PART = 10_000  # timed images of torchvision's epoch


def make_photographs(root: Path, number: int, size: int) -> None:
    """Saves noise on a gradient as JPEG, in a folder for each class."""
    generator = np.random.default_rng(0)
    for index in range(number):
        folder = root / "train" / f"class {index % CLASSES}"
        if index < CLASSES:
            folder.mkdir(parents=True)
        noise = generator.integers(0, 64, (size, size, 3)) + np.linspace(0, 190, size)[:, None]
        Image.fromarray(noise.astype(np.uint8)).save(folder / f"{index}.jpg", quality=90)


def seconds(do: Callable[[], object]) -> float:
    start = time.perf_counter()
    do()
    return time.perf_counter() - start


def images_per_second(batches: Iterable, limit: int) -> float:
    """Images per second of batches, the first one included, until `limit` are counted."""
    start, count = time.perf_counter(), 0
    for images, _ in batches:
        count += len(images)
        if count >= limit:
            break
    return count / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make_photographs(root, options.images, options.size)

        def start() -> ImageFolder:
            data = ImageFolder(folder, BATCH, image_size=options.size)
            data.prepare_data()
            data.setup("fit")
            return data

        cold, warm = seconds(start), seconds(start)
        data = start()
        to_tensor = [transforms.ToTensor(), transforms.Normalize(data.mean, data.std)]
        theirs = datasets.ImageFolder(root / "train", transforms.Compose(to_tensor))
        found: dict[str, list[float]] = {}
        for _ in range(options.rounds):
            ours = (
                (data.preprocess_images(images, is_training=False), labels)
                for images, labels in data.train_dataloader()
            )
            speeds = {"ours, warm": images_per_second(ours, options.images)}
            for workers in (0, 2):
                loader = DataLoader(theirs, BATCH, shuffle=True, num_workers=workers)
                name = f"torchvision, {workers} workers"
                speeds[name] = images_per_second(loader, min(PART, options.images))
            for name, speed in speeds.items():
                found.setdefault(name, []).append(speed)
        medians = {name: statistics.median(speeds) for name, speeds in found.items()}
        ours = medians["ours, warm"]
        print_table(
            (f"{options.images:,} JPEGs", "images/s", "ours is faster by"),
            (
                (name, f"{speed:,.0f}", "" if speed == ours else f"{ours / speed:.0f}")
                for name, speed in medians.items()
            ),
        )
        print(f"first start {cold:.1f} s, second {warm:.2f} s")


if __name__ == "__main__":
    main()
