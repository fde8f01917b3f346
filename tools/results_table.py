"""Writes the tables of results in the README and in docs/results.md from the runs in `results/`.

    python -m tools.results_table            rewrites them
    python -m tools.results_table --check    exits with 1 if they are stale

Finished recipes are between `<!-- results -->` and `<!-- /results -->`: in short in the README, in
full in docs/results.md. Recipes left to run are between `<!-- left -->` and `<!-- /left -->`.
"""

import importlib
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import torch
import yaml

from comparison.finished_runs import read_runs
from comparison.recipes import Recipe, group
from comparison.tables import devices, duration, percent, three_digits
from inference.inspection import count_macs, count_parameters
from tools.train_results import FOR_A_GPU, plan

ROOT = Path(__file__).parent.parent
TIMES = ("processor time", "time on a GPU")
SHORT = ("recipe", "parameters", "seeds", "test accuracy, %", "published, %", *TIMES)
LONG = (
    *("recipe", "parameters", "MMAC", "epochs", "seeds", "validation, %", "test accuracy, %"),
    *("published, %", *TIMES, "images/s", "device"),
)
OF_THE_PAST = " †"  # the recipe has changed since
EMPTY = "–"  # noqa: RUF001
LEFT = ("recipe", "parameters", "MMAC", "epochs", "published, %")
# Page, mark, columns, and whether the rows are finished recipes.
TABLES = (
    ("README.md", "results", SHORT, True),
    ("docs/results.md", "results", LONG, True),
    ("docs/results.md", "left", LEFT, False),
)
# The highest published figures that we know of for the same network.
PUBLISHED = {  # on Fashion-MNIST; LeNet-5 also on MNIST
    **{"lenet_fashion": "90.2", "lenet_fashion_sigmoid": "80.2 (10 epochs)", "alexnet": "92.2"},
    **{"vgg11": "93.5 (VGG-16)", "vgg16": "93.5", "nin": "83.6 (10 epochs)", "googlenet": "93.7"},
    **{"resnet18": "94.9", "resnet34": "94.9", "resnet50": "93.1", "resnet101": "93.1"},
    **{"densenet": "95.4 (DenseNet-BC)", "densenet121": "95.4"},
    **{"lenet": "99.2", "lenet_sigmoid": "99.2"},
}
NAMES = {
    **{"lenet": "LeNet-5", "alexnet": "AlexNet", "nin": "NiN", "googlenet": "GoogLeNet"},
    **{"densenet": "DenseNet", "resnet": "ResNet", "vgg": "VGG"},
}


def row(name: str, command: list[str], folder: Path) -> dict[str, str]:
    """The cells of a recipe by column; only the known ones if it has not been run."""
    config = yaml.safe_load((ROOT / command[1]).read_text(encoding="utf-8"))
    path = Path(command[1]).relative_to("configs").with_suffix("")
    cells = {
        "network": network(path.name),
        "recipe": f"`{path}`{', sigmoid' if name.endswith('_sigmoid') else ''}",
        "published, %": PUBLISHED.get(name.removesuffix("_laptop"), ""),
    }
    if not folder.exists():
        epochs = str(config["trainer"]["max_epochs"])
        if "--trainer.max_epochs" in command:
            epochs = command[command.index("--trainer.max_epochs") + 1]
        return cells | cost(*parameters_and_macs(command[1])) | {"epochs": epochs}
    recipe = recipe_in(folder)
    on_a_gpu = is_for_a_gpu(name)
    return {
        **cells,
        "recipe": cells["recipe"] + ("" if is_trained_by(command, folder) else OF_THE_PAST),
        **cost(recipe.mean("parameters"), recipe.mean("macs")),
        "epochs": f"{recipe.mean('epochs'):.0f}",
        "seeds": str(len(recipe.runs)),
        "validation, %": percent(recipe, "val_accuracy"),
        "test accuracy, %": f"**{percent(recipe, 'test_accuracy')}**",
        TIMES[on_a_gpu]: duration(
            recipe.mean("train_seconds" if on_a_gpu else "train_cpu_seconds")
        ),
        "images/s": three_digits(recipe.mean("images_per_second")),
        "device": devices(recipe),
    }


def is_trained_by(command: list[str], folder: Path) -> bool:
    """Whether the runs in a folder have the values of a command and of its config as they are."""
    asked = dict(values(yaml.safe_load((ROOT / command[1]).read_text(encoding="utf-8"))))
    words = iter(command[2:])
    for word in words:
        key, is_joined, text = word.removeprefix("--").partition("=")
        value = yaml.safe_load(text if is_joined else next(words))
        if f"{key}.class_path" in asked and isinstance(value, str):
            key += ".class_path"
        asked = {name: old for name, old in asked.items() if not f"{name}.".startswith(f"{key}.")}
        asked |= values(value, key)
    for path in folder.rglob("config.yaml"):
        run = dict(values(yaml.safe_load(path.read_text(encoding="utf-8"))))
        run["seed_everything"] = asked["seed_everything"]
        if any(run.get(name) != value for name, value in asked.items()):
            return False
    return True


def values(config: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """The values in a config by their dotted names, as options of the command line have them."""
    parts = dict(enumerate(config)) if isinstance(config, list) else config
    if not isinstance(parts, dict) or not parts:
        yield key, config
        return
    for name, part in parts.items():
        yield from values(part, key if name == "init_args" else f"{key}.{name}".lstrip("."))


@cache
def parameters_and_macs(config: str) -> tuple[int, int]:
    """Parameters and MACs of the network of a config, without a run."""
    parts = yaml.safe_load((ROOT / config).read_text(encoding="utf-8"))
    net = parts["model"]["init_args"]["net"]
    module, _, made_by = net["class_path"].rpartition(".")
    with torch.device("meta"):
        net = getattr(importlib.import_module(module), made_by)(**net.get("init_args", {}))
    image_size = parts["data"]["init_args"].get("image_size", 28)
    return count_parameters(net), count_macs(net, 1, image_size)


def recipe_in(folder: Path) -> Recipe:
    """The only recipe of the runs in a folder."""
    runs, left_out = read_runs([folder])
    recipes, repeated = group(runs)
    if left_out or repeated or len(recipes) != 1:
        raise ValueError(f"{folder} is not one row: {left_out}, {repeated}, {len(recipes)} recipes")
    return recipes[0]


def network(config: str) -> str:
    """The name of a config's network, with a link to its page."""
    family, number = re.match(r"([a-z]+)(\d*)", config).groups()
    return f"[{NAMES[family]}{f'-{number}' if number else ''}](docs/models/{family}.md)"


def cost(parameters: float, macs: float) -> dict[str, str]:
    return {"parameters": f"{parameters / 1e6:,.2f} M", "MMAC": f"{macs / 1e6:,.2f}"}


def tables(columns: tuple[str, ...], were_run: bool, results: Path = ROOT / "results") -> str:
    """Markdown tables of finished or missing recipes: for each dataset, then those for a GPU."""
    texts = []
    for title in ("Fashion-MNIST", "MNIST", "Fashion-MNIST, 224 x 224", "MNIST, 224 x 224"):
        rows = [
            row(name, command, results / name)
            for name, _, command in plan(seeds=1)
            if (results / name).exists() == were_run and title_of(name) == title
        ]
        used = [name for name in columns if any(cells.get(name) for cells in rows)]
        if rows:
            lines = [[title, *used], ["---", "---", *("---:" for _ in used[1:])]]
            for cells in rows:
                lines.append([cells["network"], *(cells.get(name) or EMPTY for name in used)])
            texts.append("\n".join(f"| {' | '.join(cells)} |" for cells in lines))
    return "\n\n".join(texts) + "\n"


def title_of(name: str) -> str:
    is_mnist = name in ("lenet", "lenet_sigmoid") or name.endswith("_mnist")
    return ("MNIST" if is_mnist else "Fashion-MNIST") + ", 224 x 224" * is_for_a_gpu(name)


def is_for_a_gpu(name: str) -> bool:
    return name.removesuffix("_mnist") in FOR_A_GPU


def current(page: str) -> str:
    """The text of a page with up-to-date tables."""
    text = (ROOT / page).read_text(encoding="utf-8")
    for place, mark, columns, were_run in TABLES:
        if place == page:
            between = re.compile(rf"(<!-- {mark} -->\n).*?(<!-- /{mark} -->)", re.DOTALL)
            made = tables(columns, were_run)
            if page.startswith("docs/"):  # links are relative to the page
                made = made.replace("](docs/", "](")
            text = between.sub(lambda match, made=made: match[1] + made + match[2], text)
    return text


if __name__ == "__main__":
    for page in dict.fromkeys(place for place, *_ in TABLES):
        if (now := current(page)) != (ROOT / page).read_text(encoding="utf-8"):
            if sys.argv[1:] == ["--check"]:
                sys.exit(f"{page} is stale: python -m tools.results_table")
            (ROOT / page).write_text(now, encoding="utf-8")
