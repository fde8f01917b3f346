"""Exports a network to ONNX: python export.py runs/lenet/1/checkpoints/best.ckpt."""

from inference.loading import load_by_options
from inference.onnx import CHECKED, export_onnx, measured
from terminal.console import print_facts
from terminal.errors import one_line_errors
from terminal.scripts import ScriptParser
from training.results import commit


def main() -> None:
    with one_line_errors():
        parser = ScriptParser(
            "Exports a network to ONNX, checked against PyTorch on test images. It maps raw "
            "images, uint8 (N, C, H, W) of the dataset's own size, to probabilities."
        )
        parser.add_output_file("--out", "the network", ".onnx", default="model.onnx")
        options = parser.parse_args()
        classifier, data = load_by_options(options)
        data.prepare_data()
        data.setup("test")
        metadata = {
            "net": classifier.net_name,
            "dataset": data.name,
            "classes": list(data.classes),
            "commit": commit() or "unknown",
            **measured(options.checkpoint),
        }
        checked = min(CHECKED, len(data.splits["test"].labels))
        shape = f"(N, {data.native_channels}, {data.native_size}, {data.native_size})"
        difference = export_onnx(classifier, data, options.out, metadata)
        print_facts(
            {
                "net": f"{metadata['net']}, {options.checkpoint}",
                "input": f"images, uint8 {shape}",
                "output": f"probabilities, float (N, {len(data.classes)})",
                "check": f"at most {difference:.1e} from PyTorch on {checked} test images",
                "file": f"{options.out}, {options.out.stat().st_size / 1e6:.1f} MB",
            }
        )


if __name__ == "__main__":
    main()
