"""Classifies images: python predict.py runs/lenet/1/checkpoints/best.ckpt my_digits/."""

import sys
from pathlib import Path

from callbacks.pictures import save_figure
from inference.images import find_files
from inference.loading import load_by_options
from inference.predictions import SHEET, draw_sheet, from_files, from_test_set, predict, write_csv
from terminal.console import console
from terminal.devices import best_device
from terminal.errors import UserError, one_line_errors, printable
from terminal.scripts import ScriptParser


def main() -> None:
    with one_line_errors():
        parser = ScriptParser("Classifies images, or ten images of the test set.")
        parser.add_argument("images", nargs="*", type=Path, help="image files, or folders of them")
        parser.add_output_folder("predictions", "predictions.csv and predictions.png")
        parser.add_argument("--top_k", type=int, help="classes to name for each image; default: 3")
        parser.add_argument(
            "--invert",
            choices=("auto", "yes", "no"),
            default="auto",
            help="whether the images are dark on light; auto, the default, looks at their borders",
        )
        options = parser.parse_intermixed_args()
        classifier, data = load_by_options(options)
        top_k = min(3, len(data.classes)) if options.top_k is None else options.top_k
        if not 1 <= top_k <= len(data.classes):
            raise UserError(f"--top_k must be from 1 to {len(data.classes)}.")
        classifier.to(best_device())
        table, sheet = options.out / "predictions.csv", options.out / "predictions.png"
        written = (table.resolve(), sheet.resolve())
        for path in options.images:
            if path.resolve() in written:
                raise UserError(f"{path} would be written over: name another folder by --out.")
        files = [file for file in find_files(options.images) if file.resolve() not in written]
        batches = from_files(files, data, options.invert) if files else from_test_set(data)
        predictions, shown = [], []
        for sources, images, actual in batches:
            answers = predict(classifier, data, images, sources, actual, top_k)
            for answer in answers:
                console.print(answer.line, soft_wrap=True, markup=False)
            predictions += answers
            shown += images[: SHEET - len(shown)]
        if not predictions:
            raise UserError("none of the files is an image.")
        write_csv(table, predictions)
        save_figure(draw_sheet(shown, predictions), sheet, dpi=120)
        print(printable(f"{table}, {sheet}"))
        if files and len(predictions) < len(files):
            sys.exit(2)


if __name__ == "__main__":
    main()
