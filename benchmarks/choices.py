"""What each choice of the recipes for a CPU is worth: speed with it and with another in its place.

    python -m benchmarks.choices [--recipes resnet18 vgg11] [--images 1024] [--rounds 3]
        [--json FILE]

Trains the recipes of `configs/laptop/` by `train.py`'s own loop, with augmentation and averaged
weights, in one thread: two epochs of `images` images without validation; the second is measured.
The recipe and its variants run in turns. Speed is not accuracy: a choice may also change what is
learnt (docs/results.md).
"""

import argparse
import os
import sys
import tempfile

import torch
import yaml
from lightning.pytorch.callbacks import Checkpoint

from benchmarks.report import benchmark_parser, report, write_json
from training.cli import TrainingCLI

RECIPES = ("resnet18", "densenet", "vgg11")
SGD = (
    "--model.optimizer={class_path: torch.optim.SGD, "
    "init_args: {lr: 0.01, momentum: 0.9, weight_decay: 0.0005}}"
)
VARIANTS = {
    "as it is": (),
    "float32": ("--trainer.precision", "32-true"),
    "two threads": (),
    "batches of 64": ("--data.batch_size", "64"),
    "batches of 512": ("--data.batch_size", "512"),
    "SGD": (SGD,),
    "fused AdamW": ("--model.optimizer.fused", "true"),
    "no averaged weights": ("--trainer.callbacks", "null"),
}


def images_per_second(recipe: str, variant: str, args: argparse.Namespace) -> float:
    """Speed of the steps of the second of two short epochs, the first being a warm-up."""
    config = f"configs/laptop/{recipe}.yaml"
    options = VARIANTS[variant]
    with open(config, encoding="utf-8") as file:
        batch_size = yaml.safe_load(file)["data"]["init_args"]["batch_size"]
    if "--data.batch_size" in options:
        batch_size = int(options[1])
    torch.set_num_threads(2 if variant == "two threads" else 1)
    with tempfile.TemporaryDirectory() as folder:
        cli = TrainingCLI(
            [
                *("--config", config, "--data.root", str(args.root), *options),
                *("--trainer.max_epochs", "2", "--trainer.limit_val_batches", "0"),
                *("--trainer.limit_train_batches", str(max(1, args.images // batch_size))),
                *("--run_dir", os.path.join(folder, "run"), "--dashboard", "false"),
            ]
        )
        # VGG's checkpoints have 2 GB: writing them would take longer than the steps.
        callbacks = cli.trainer.callbacks
        cli.trainer.callbacks = [one for one in callbacks if not isinstance(one, Checkpoint)]
        with cli.open_run():
            cli.trainer.fit(cli.model, cli.datamodule)
    return cli.stopwatch.images_per_second[-1]


def main() -> None:
    parser = benchmark_parser(__doc__)
    parser.add_argument("--recipes", nargs="*", default=RECIPES, help="names in configs/laptop")
    parser.add_argument("--variants", nargs="*", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--images", type=int, default=1024, help="images of an epoch")
    args = parser.parse_args()
    sys.argv = sys.argv[:1]
    content = []
    for recipe in args.recipes:
        rates: dict[str, list[float]] = {variant: [] for variant in args.variants}
        for _ in range(args.rounds):
            for variant in args.variants:
                rates[variant].append(images_per_second(recipe, variant, args))
        content.append(report(f"laptop/{recipe}, training", "images/s", rates))
    write_json(args.json, content)


if __name__ == "__main__":
    main()
