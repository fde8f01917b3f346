"""Evaluates a network on its test set: python evaluate.py runs/lenet/1/checkpoints/best.ckpt."""

import json

import torch

from callbacks.pictures import draw_confusion_matrix, save_figure
from inference.evaluation import answer_test_set, compute_metrics, measure_added
from inference.loading import load_by_options
from terminal.atomic import write_atomically
from terminal.console import print_facts, print_table
from terminal.devices import best_device
from terminal.errors import one_line_errors
from terminal.scripts import PICTURES, ScriptParser


def main() -> None:
    with one_line_errors():
        parser = ScriptParser("Measures a network on its test set, exactly, on one device.")
        parser.add_argument("--data", metavar="NAME", help="another test set, such as FashionMNIST")
        parser.add_output_file("--json", "all figures, as JSON", ".json")
        parser.add_output_file("--figure", "the confusion matrix, as a picture", *PICTURES)
        options = parser.parse_args()
        classifier, data = load_by_options(options)
        data.prepare_data()
        data.setup("test")
        logits, labels, loss = answer_test_set(classifier.to(best_device()), data)
        added = {"metrics": measure_added(classifier, logits, labels)}
        metrics = compute_metrics(logits, labels, data.classes, loss) | added
        print_facts(
            {
                "net": f"{classifier.net_name}, {options.checkpoint}",
                "data": f"{data.name}, {metrics['images']:,} test images",
                "loss": f"{metrics['loss']:.4f}",
                "accuracy": f"{metrics['accuracy']:.2%}, top-2 accuracy "
                f"{metrics['top_2_accuracy']:.2%}",
                "calibration": f"{metrics['calibration_error']:.2%} expected error",
                **{name: f"{value:.4f}" for name, value in metrics["metrics"].items()},
            }
        )
        print_table(
            ("class", "images", "precision", "recall", "f1"),
            (
                (name, f"{of['images']:,}", *(f"{of[key]:.2%}" for key in list(of)[:3]))
                for name, of in metrics["classes"].items()
            ),
        )
        if options.json:
            text = json.dumps(metrics, indent=2) + "\n"
            write_atomically(options.json, lambda beside: beside.write_text(text, encoding="utf-8"))
        if options.figure:
            figure = draw_confusion_matrix(torch.tensor(metrics["confusion_matrix"]), data.classes)
            save_figure(figure, options.figure, dpi=150)


if __name__ == "__main__":
    main()
