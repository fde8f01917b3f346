"""Writes the tables of results, in the README and in docs/results.md, from what is in `results/`.

    python -m tools.results_table            rewrites them
    python -m tools.results_table --check    exits with 1 if they are stale

They stand between `<!-- results -->` and `<!-- /results -->`. The README has the recipes for a
processor that have been run; the page has what is left, and the recipes for a GPU.
"""

import importlib
import re
import sys
from pathlib import Path

import torch
import yaml

from comparison.finished_runs import read_runs
from comparison.recipes import group
from comparison.tables import devices, duration, percent, three_digits
from inference.inspection import count_macs, count_parameters
from tools.train_results import EPOCHS_ON_MNIST, plan

ROOT = Path(__file__).parent.parent
README, OTHERS = "README.md", "docs/results.md"
TABLES = re.compile(r"(<!-- results -->\n).*?(<!-- /results -->)", re.DOTALL)
COLUMNS = (
    *("parameters", "MMAC", "epochs", "seeds", "test accuracy, %", "published, %"),
    *("processor time", "images/s", "device"),
)
# The highest figures that we know of with the same network.
PUBLISHED = {  # on Fashion-MNIST; LeNet-5 also on MNIST
    **{"lenet_fashion": "90.2", "lenet_fashion_sigmoid": "80.2 (10 epochs)", "alexnet": "92.2"},
    **{"vgg11": "93.5 (VGG-16)", "vgg16": "93.5", "nin": "83.6 (10 epochs)", "googlenet": "93.7"},
    **{"resnet18": "94.9", "resnet34": "94.9", "resnet50": "93.1", "resnet101": "93.1"},
    **{"densenet": "95.4 (DenseNet-BC)", "densenet121": "95.4"},
    **{"lenet": "99.2", "lenet_sigmoid": "99.2"},
}


def row(name: str, command: list[str], folder: Path) -> list[str]:
    """The cells of a recipe, whether it was run or not."""
    config = yaml.safe_load((ROOT / command[1]).read_text())
    path = Path(command[1]).relative_to("configs").with_suffix("")
    label = f"`{path}`{', sigmoid' if name.endswith('_sigmoid') else ''}"
    published = PUBLISHED.get(name.removesuffix("_laptop"), "")
    if not folder.exists():
        net = config["model"]["init_args"]["net"]
        module, _, network = net["class_path"].rpartition(".")
        with torch.device("meta"):
            net = getattr(importlib.import_module(module), network)(**net.get("init_args", {}))
        size = config["data"]["init_args"].get("image_size", 28)
        parameters, macs = count_parameters(net), count_macs(net, 1, size)
        epochs = str(config["trainer"]["max_epochs"])
        if EPOCHS_ON_MNIST[0] in command:
            epochs = command[command.index(EPOCHS_ON_MNIST[0]) + 1]
        return [label, *cost(parameters, macs), epochs, "0", "not run", published, "", "", ""]
    runs, left_out = read_runs([folder])
    (recipe,), repeated = group(runs)  # one recipe, or it is no row
    if left_out or repeated:
        raise ValueError(f"{folder}: {left_out | repeated}")
    return [
        label,
        *cost(recipe.mean("parameters"), recipe.mean("macs")),
        f"{recipe.mean('epochs'):.0f}",
        str(len(recipe.runs)),
        f"**{percent(recipe, 'test_accuracy')}**",
        published,
        duration(recipe.mean("train_cpu_seconds")),
        three_digits(recipe.mean("images_per_second")),
        devices(recipe),
    ]


def cost(parameters: float, macs: float) -> list[str]:
    return [f"{parameters / 1e6:,.2f} M", f"{macs / 1e6:,.2f}"]


def tables(page: str, results: Path = ROOT / "results") -> str:
    """The tables of a page in Markdown, one for each dataset that has rows in it."""
    texts = []
    for dataset in ("Fashion-MNIST", "MNIST"):
        rows = [
            row(name, command, results / name)
            for name, _, command in plan(seeds=1)
            if page_of(name, results) == page and dataset_of(name) == dataset
        ]
        if rows:
            rule = ["---", *(["---:"] * (len(COLUMNS) - 1)), "---"]
            lines = [[dataset, *COLUMNS], rule, *rows]
            texts.append("\n".join(f"| {' | '.join(cells)} |" for cells in lines))
    return "\n\n".join(texts) + "\n"


def dataset_of(name: str) -> str:
    is_mnist = name in ("lenet", "lenet_sigmoid") or name.endswith("_mnist")
    return "MNIST" if is_mnist else "Fashion-MNIST"


def page_of(name: str, results: Path) -> str:
    is_for_a_processor = name.startswith("lenet") or "_laptop" in name
    return README if is_for_a_processor and (results / name).exists() else OTHERS


def current(page: str) -> str:
    """The text of a page with the tables of today."""
    text = (ROOT / page).read_text()
    return TABLES.sub(lambda match: match[1] + tables(page) + match[2], text)


if __name__ == "__main__":
    for page in (README, OTHERS):
        if (now := current(page)) != (ROOT / page).read_text():
            if sys.argv[1:] == ["--check"]:
                sys.exit(f"{page} is stale: python -m tools.results_table")
            (ROOT / page).write_text(now)
