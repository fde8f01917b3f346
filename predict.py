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
        for name, choices, about in (
            ("--invert", ("auto", "yes", "no"), "whether the images are dark on light"),
            ("--digits", ("auto", "one", "many"), "how many digits there are on a page"),
        ):
            help = f"{about}; auto, the default, looks at each"
            parser.add_argument(name, choices=choices, default="auto", help=help)
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
        how = (options.invert, options.digits)
        predictions = []
        for batch in from_files(files, data, *how) if files else from_test_set(data):
            for answer in predict(classifier, data, batch, top_k):
                console.print(answer.line, soft_wrap=True, markup=False)
                predictions.append(answer if len(predictions) < SHEET else answer.without_pictures)
        if not predictions:
            raise UserError("none of the files is an image.")
        write_csv(table, predictions, top_k)
        save_figure(draw_sheet(predictions[:SHEET]), sheet, dpi=120)
        shown = f" (the first {SHEET})" if len(predictions) > SHEET else ""
        print(printable(f"{table}, {sheet}{shown}"))
        if files and len({answer.shown.source for answer in predictions}) < len(set(files)):
            sys.exit(2)


if __name__ == "__main__":
    main()
