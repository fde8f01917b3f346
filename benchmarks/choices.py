"""What the choices in the recipes for a CPU are worth: their speed, and that with other choices.

    python -m benchmarks.choices [--recipes resnet18 vgg11] [--variants float32 SGD]
        [--images 1024] [--rounds 3] [--json FILE]

Trains the recipes of `configs/laptop/` by `train.py`'s own loop, with augmentation and averaged
weights, in one thread: two epochs of `images` images without validation; the second is measured.
The recipe and its variants run in turns. The machine has to be idle: on a busy one, two threads
wait for each other. Speed is not accuracy: a choice may also change what is learnt
(docs/results.md).
"""

import argparse
import contextlib
import gc
import os
import sys
import tempfile
from unittest import mock

import torch
import yaml
from lightning.pytorch.callbacks import Checkpoint

from benchmarks.report import benchmark_parser, report, write_json
from terminal.devices import give_back_freed_memory
from training.cli import TrainingCLI

RECIPES = ("resnet18", "resnet50", "densenet", "vgg11")
SGD = (
    "--model.optimizer={class_path: torch.optim.SGD, "
    "init_args: {lr: 0.01, momentum: 0.9, weight_decay: 0.0005}}"
)
VARIANTS = {
    "as it is": (),
    "float32": ("--trainer.precision", "32-true"),
    "two threads": (),
    "batches of 64": ("--data.batch_size", "64"),
    "batches of 128": ("--data.batch_size", "128"),
    "batches of 512": ("--data.batch_size", "512"),
    "SGD": (SGD,),
    "fused AdamW": ("--model.optimizer.fused", "true"),
    "AdamW, not fused": ("--model.optimizer.fused", "false"),
    "no averaged weights": ("--trainer.callbacks", "null"),
    "no products": (),
    "memory given back": (),
}
# What a variant has instead of the project's own.
INSTEAD = {
    "no products": mock.patch("lit_modules.small_maps.has_amx", return_value=False),
    "memory given back": mock.patch("training.cli.keep_freed_memory", give_back_freed_memory),
}


def config_of(recipe: str) -> str:
    return f"configs/laptop/{recipe}.yaml"


def batch_size_of(recipe: str) -> int:
    with open(config_of(recipe), encoding="utf-8") as file:
        return yaml.safe_load(file)["data"]["init_args"]["batch_size"]


def images_per_second(recipe: str, variant: str, args: argparse.Namespace) -> float:
    """Speed of the steps of the second of two short epochs; the first is a warm-up."""
    gc.collect()  # of the run before: those of VGG filled 24 GB
    options = VARIANTS[variant]
    batch_size = int(options[1]) if "--data.batch_size" in options else batch_size_of(recipe)
    torch.set_num_threads(2 if variant == "two threads" else 1)
    instead = INSTEAD.get(variant, contextlib.nullcontext())
    with tempfile.TemporaryDirectory() as folder, instead:
        cli = TrainingCLI(
            [
                *("--config", config_of(recipe), "--data.root", str(args.root), *options),
                *("--trainer.max_epochs", "2", "--trainer.limit_val_batches", "0"),
                *("--trainer.limit_train_batches", str(max(1, args.images // batch_size))),
                *("--trainer.accelerator", "cpu", "--dashboard", "false"),
                *("--run_dir", os.path.join(folder, "run")),
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
        same = f"batches of {batch_size_of(recipe)}"
        rates: dict[str, list[float]] = {name: [] for name in args.variants if name != same}
        for _ in range(args.rounds):
            for variant in rates:
                rates[variant].append(images_per_second(recipe, variant, args))
        content.append(report(f"laptop/{recipe}, training", "images/s", rates))
    write_json(args.json, content)


if __name__ == "__main__":
    main()
