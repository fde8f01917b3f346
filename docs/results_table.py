"""Writes the README's tables of results from what is in `results/`.

    python -m docs.results_table            rewrites them
    python -m docs.results_table --check    exits with 1 if they are stale

They stand between `<!-- results -->` and `<!-- /results -->`.
"""

import importlib
import re
import sys
from pathlib import Path

import torch
import yaml

from benchmarks.results import plan
from comparison.finished_runs import read_runs
from comparison.recipes import group
from comparison.tables import devices, duration, percent, three_digits
from training.inspection import count_macs, count_parameters

ROOT = Path(__file__).parent.parent
TABLES = re.compile(r"(<!-- results -->\n).*?(<!-- /results -->)", re.DOTALL)
COLUMNS = (
    *("parameters", "MMAC", "epochs", "seeds", "test accuracy, %", "published, %"),
    *("processor time", "images/s", "device"),
)
# The highest figures that we know of with the same network.
PUBLISHED = {
    **{"lenet_fashion": "90.2", "lenet_fashion_sigmoid": "80.2 (10 epochs)", "alexnet": "92.2"},
    **{"vgg11": "93.5 (VGG-16)", "vgg16": "93.5", "nin": "83.6 (10 epochs)", "googlenet": "93.7"},
    **{"resnet18": "94.9", "resnet34": "94.9", "resnet50": "93.1", "resnet101": "93.1"},
    **{"densenet": "95.4 (DenseNet-BC)", "densenet121": "95.4"},
    **{"lenet": "99.2", "lenet_sigmoid": "99.2"},
}


def row(name: str, command: list[str], folder: Path) -> list[str]:
    """The cells of a recipe, whether it was run or not."""
    config = yaml.safe_load((ROOT / command[1]).read_text())
    label = f"`{Path(command[1]).stem}`{', sigmoid' if name.endswith('_sigmoid') else ''}"
    published = PUBLISHED.get(name, "")
    if not folder.exists():
        net = config["model"]["init_args"]["net"]
        module, _, network = net["class_path"].rpartition(".")
        with torch.device("meta"):
            net = getattr(importlib.import_module(module), network)(**net.get("init_args", {}))
        size = config["data"]["init_args"].get("image_size", 28)
        parameters, macs = count_parameters(net), count_macs(net, 1, size)
        epochs = config["trainer"]["max_epochs"]
        return [label, *cost(parameters, macs), str(epochs), "0", "not run", published, "", "", ""]
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


def tables(results: Path = ROOT / "results") -> str:
    """Both datasets' tables in Markdown."""
    texts = []
    for dataset in ("Fashion-MNIST", "MNIST"):
        lines = [[dataset, *COLUMNS], ["---", *(["---:"] * (len(COLUMNS) - 1)), "---"]]
        for name, _, command in plan(seeds=1):
            is_mnist = (name.startswith("lenet") and "fashion" not in name) or name.endswith(
                "_mnist"
            )
            if is_mnist == (dataset == "MNIST"):
                lines.append(row(name, command, results / name))
        texts.append("\n".join(f"| {' | '.join(cells)} |" for cells in lines))
    return "\n\n".join(texts) + "\n"


def current(page: str) -> str:
    """The page with the tables of today."""
    return TABLES.sub(lambda match: match[1] + tables() + match[2], page)


if __name__ == "__main__":
    readme = ROOT / "README.md"
    text = readme.read_text()
    if (now := current(text)) != text:
        if sys.argv[1:] == ["--check"]:
            sys.exit(f"{readme.name} is stale: python -m docs.results_table")
        readme.write_text(now)
