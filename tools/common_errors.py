"""Prints the classes that networks confuse on the test set, and draws images that all get wrong.

    python -m tools.common_errors CHECKPOINT [CHECKPOINT ...] [--root DIR] [--out FILE]

All checkpoints must be of one dataset. The table, in Markdown, has one row for each pair of classes
that is often confused, and one column for each network, in the order of the checkpoints.
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor

from callbacks.mistakes import Mistakes
from callbacks.pictures import draw_mistakes, save_figure
from datamodules import InMemoryDataModule
from inference.evaluation import answer_test_set
from inference.loading import load

PAIRS = 6  # rows of the table
SHOWN = 16  # images


def count_confusions(predicted: Tensor, labels: Tensor, number: int) -> Tensor:
    """Counts of test images by true and predicted class (num_classes, num_classes)."""
    return torch.bincount(labels * number + predicted, minlength=number**2).view(number, number)


def describe(names: list[str], predicted: Tensor, labels: Tensor, classes: tuple[str, ...]) -> str:
    """The pairs of classes that are confused most often, and how many images all get wrong.

    Args:
        names: Names of the networks.
        predicted: Classes (networks, N).
        labels: True classes (N,).
        classes: Names of the classes.
    """
    number = len(classes)
    confusions = torch.stack([count_confusions(of, labels, number) for of in predicted])
    both_ways = (confusions + confusions.transpose(1, 2)).triu(1)
    most = both_ways.sum(0).flatten().argsort(descending=True, stable=True)[:PAIRS].tolist()
    lines = [["confused", *names], ["---", *("---:" for _ in names)]]
    for pair in most:
        of_each = both_ways[:, pair // number, pair % number].tolist()
        lines.append([f"{classes[pair // number]}, {classes[pair % number]}", *map(str, of_each)])
    wrong = predicted != labels
    lines.append(["all errors", *map(str, wrong.sum(1).tolist())])
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    return f"{table}\n\nWrong by all: {int(wrong.all(0).sum())} of {len(labels):,} images."


def wrong_by_all(probabilities: Tensor, data: InMemoryDataModule) -> Mistakes:
    """The images that all networks get wrong, the most confident first.

    Args:
        probabilities: Probabilities of each network (networks, N, num_classes).
        data: The test images.
    """
    images, labels = data.splits["test"]
    is_wrong = (probabilities.argmax(2) != labels).all(0)
    confidences, predicted = probabilities.mean(0).max(1)
    order = confidences.argsort(descending=True)
    chosen = order[is_wrong[order]][:SHOWN]
    prepared = data.preprocessing(images[chosen].float() / 255)
    return Mistakes(confidences[chosen], predicted[chosen], labels[chosen], prepared)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("checkpoints", type=Path, nargs="+")
    parser.add_argument("--root", help="folder of the datasets")
    parser.add_argument("--out", type=Path, help="path of the picture")
    options = parser.parse_args()
    names, answers = [], []
    for path in options.checkpoints:
        classifier, data = load(path, root=options.root)
        data.prepare_data()
        data.setup("test")
        logits, labels, _ = answer_test_set(classifier, data)
        names.append(type(classifier.net).__name__)
        answers.append(logits.softmax(1))
    probabilities = torch.stack(answers)
    print(describe(names, probabilities.argmax(2), labels, data.classes))
    if options.out:
        save_figure(draw_mistakes(wrong_by_all(probabilities, data), data), options.out, dpi=100)


if __name__ == "__main__":
    main()
