"""Trains the recipes of the results table, as many as fit into a time limit.

    python -m tools.train_results [--minutes 25] [--seeds 3] [--only lenet nin] [--KEY VALUE ...]

The first seed of every recipe comes before the second seed of any. Finished runs are skipped and
stopped runs resumed, so repeat the command until nothing is left to do. Further options are
`train.py`'s, for all runs. The table: `python compare.py results`.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
FAMILIES = ("resnet18", "densenet", "googlenet", "nin", "alexnet", "vgg11")
FOR_A_PROCESSOR = (*FAMILIES, "resnet50", "densenet121")
FOR_A_GPU = (*FOR_A_PROCESSOR, "resnet34", "resnet101", "vgg16")
# Digits are not flipped, unlike clothes.
ON_MNIST = (
    "--data=datamodules.MNIST",
    "--data.augment="
    + json.dumps(
        [
            {"class_path": "datamodules.augmentation.RandomCrop", "init_args": {"padding": 2}},
            {
                "class_path": "kornia.augmentation.RandomErasing",
                "init_args": {"p": 0.25, "scale": [0.02, 0.2]},
            },
        ]
    ),
)
# Digits need fewer epochs than clothes; only without a GPU. docs/results.md says why they differ.
EPOCHS_ON_MNIST = dict.fromkeys(FAMILIES, 8) | {"nin": 20, "alexnet": 12, "vgg11": 16}
SIGMOID = ("--model.net.activation", "sigmoid")


def plan(seeds: int) -> Iterator[tuple[str, int, list[str]]]:
    """Name, seed and command line of each run, in the order of training."""
    recipes: dict[str, list[str]] = {}
    for config in ("lenet", "lenet_fashion"):
        recipes[config] = ["--config", f"configs/{config}.yaml"]
        recipes[f"{config}_sigmoid"] = [*recipes[config], *SIGMOID]
    for network in FOR_A_PROCESSOR:
        recipes[f"{network}_laptop"] = ["--config", f"configs/laptop/{network}.yaml"]
    for network in FAMILIES:
        name = f"{network}_laptop"
        epochs = ("--trainer.max_epochs", str(EPOCHS_ON_MNIST[network]))
        recipes[f"{name}_mnist"] = [*recipes[name], *ON_MNIST, *epochs]
    for network in FOR_A_GPU:
        recipes[network] = ["--config", f"configs/{network}.yaml"]
    for network in FAMILIES:
        recipes[f"{network}_mnist"] = [*recipes[network], *ON_MNIST]
    for seed in range(1, seeds + 1):
        for name, command in recipes.items():
            yield name, seed, [*command, "--seed_everything", str(seed)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--out", type=Path, default=Path("results"))
    parser.add_argument("--minutes", type=float, default=25)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="*", help="names of runs, such as lenet resnet18_mnist")
    args, options = parser.parse_known_args()
    end = time.monotonic() + 60 * args.minutes
    failed = False
    for name, seed, command in plan(args.seeds):
        folder = (args.out / name / str(seed)).resolve()
        if (folder / "results.json").exists() or (args.only and name not in args.only):
            continue
        left = end - time.monotonic()
        if left <= 0:
            break
        print(f"{name}, seed {seed}", flush=True)
        train = [sys.executable, "train.py", *command, "--run_dir", str(folder), *options]
        try:
            subprocess.run(train, cwd=ROOT, timeout=left, check=True)
        except subprocess.TimeoutExpired:
            print(f"{name} goes on next time")
        except subprocess.CalledProcessError as error:
            print(f"{name} ended with status {error.returncode}", file=sys.stderr)
            failed = True
    sys.exit(failed)


if __name__ == "__main__":
    main()
