"""Measures how well pictures of clothes are cut out and classified, background by background.

    python -m tools.read_clothes runs/lenet_fashion/1/checkpoints/best.ckpt --pictures 500

Each picture is an image of Fashion-MNIST's test set, its thing as dark as the product was, enlarged
on a background with grain, written as a JPEG file and read as `predict.py` reads it. The column
"as in the dataset" is of the same images without all that. The table is that of
docs/photographs.md.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy import ndimage

from inference.images import Shown, read_file
from inference.loading import load
from inference.predictions import predict

BACKGROUNDS = ("white", "gray", "coloured", "black", "uneven")


def draw_picture(kind: str, image: np.ndarray, rng: np.random.Generator) -> Image.Image:
    """Draws a photograph of a thing.

    Args:
        kind: Its background, of `BACKGROUNDS`. Before black, things stay as light as in the image.
        image: uint8 (28, 28), light on black.
        rng: What the picture depends on, with the kind.
    """
    side = int(rng.integers(200, 800))
    height, width = (int(side * rng.uniform(1.1, 1.6)) for _ in range(2))
    of_thing = ndimage.binary_fill_holes(image > 16).astype(np.uint8) * 255
    large, mask = (
        Image.fromarray(part).resize((side, side), Image.Resampling.BICUBIC)
        for part in (image, of_thing)
    )
    gray = int(rng.integers(90, 230))
    even = {"white": (250,) * 3, "gray": (gray,) * 3, "black": (0,) * 3}
    paper = even.get(kind) or tuple(rng.integers(60, 250, 3).tolist())
    picture = Image.new("RGB", (width, height), paper)
    if kind == "uneven":
        room = rng.integers(0, 256, (8, 8, 3), np.uint8)
        picture = Image.fromarray(room).resize(picture.size, Image.Resampling.BICUBIC)
    shown = large if kind == "black" else Image.eval(large, lambda value: 255 - value)
    place = (int(rng.integers(0, width - side + 1)), int(rng.integers(0, height - side + 1)))
    picture.paste(shown.convert("RGB"), place, mask)
    noisy = np.array(picture, np.float32) + rng.normal(0, rng.uniform(0, 4), (height, width, 1))
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--pictures", type=int, default=500, help="before each background")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    classifier, data = load(options.checkpoint)
    data.prepare_data()
    data.setup("test")
    images, labels = data.splits["test"]

    def share_right(found: list[Shown], chosen: np.ndarray) -> str:
        answers = predict(classifier, data, found, top_k=1)
        pairs = zip(answers, labels[chosen].tolist(), strict=True)
        right = sum(answer.classes == [data.classes[label]] for answer, label in pairs)
        return f"{right / len(chosen):.1%}"

    print("| background | pictures | cut out | right | as in the dataset |", flush=True)
    print("|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "picture.jpg"
        for number, kind in enumerate(BACKGROUNDS):
            rng = np.random.default_rng([options.seed, number])
            chosen = rng.integers(len(labels), size=options.pictures)
            found = []
            for image in images[chosen, 0].numpy():
                draw_picture(kind, image, rng).save(path, quality=int(rng.integers(80, 96)))
                found += read_file(path, data)
            cut_out = sum(shown.image is not None for shown in found) / len(found)
            plain = [Shown("", image) for image in images[torch.from_numpy(chosen)]]
            right = share_right(found, chosen), share_right(plain, chosen)
            print(f"| {kind} | {len(found)} | {cut_out:.1%} | {' | '.join(right)} |", flush=True)


if __name__ == "__main__":
    main()
