"""Exports a network to one ONNX file that takes raw images."""

import io
import json
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from datamodules import InMemoryDataModule
from inference.logits import compute_logits
from lit_modules import LitClassifier
from lit_modules.checkpoints import read_checkpoint
from terminal.atomic import write_atomically
from terminal.errors import UserError

CHECKED = 256  # test images
TOLERANCE = 1e-4  # largest difference in a probability


class WithPreprocessing(nn.Module):
    """A network with its preprocessing and a softmax.

    Args:
        classifier: The network.
        data: The data module of its images.

    Shapes:
        images uint8 (N, C, H, W) of the dataset's native size -> float (N, num_classes)
    """

    def __init__(self, classifier: LitClassifier, data: InMemoryDataModule) -> None:
        super().__init__()
        self.net = classifier.net
        self.preprocessing = data.preprocessing.cpu()
        # Resizing is linear in rows and columns. Runtimes differ in antialiased interpolation, but
        # not in products with two matrices.
        identity = torch.eye(data.native_size)[None, None]
        rows = F.interpolate(
            identity, (data.image_size, data.native_size), mode="bilinear", antialias=True
        )
        self.register_buffer("rows", rows[0, 0])

    def forward(self, images: Tensor) -> Tensor:
        images = images.float() / 255
        if self.rows.shape[0] != self.rows.shape[1]:
            images = self.rows @ images @ self.rows.T  # (N, C, image_size, image_size)
        return self.net(self.preprocessing(images)).softmax(1)


def export_onnx(
    classifier: LitClassifier, data: InMemoryDataModule, path: Path, metadata: dict[str, Any]
) -> float:
    """Writes an ONNX file, and compares its probabilities on test images with PyTorch's.

    Its input `images` is uint8 (N, C, H, W) of the dataset's native size with any N, its output
    `probabilities` float (N, num_classes).

    Args:
        classifier: The network, in eval mode on the CPU.
        data: Its data module, with the test set loaded.
        path: The file to write.
        metadata: Plain values to store in the file: strings as they are, others as JSON.

    Returns:
        The largest difference between probabilities of ONNX Runtime and PyTorch.

    Raises:
        UserError: If that is above 1e-4, the network has no single graph, or the packages are
            missing; then nothing is written.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # or onnxruntime reports to its maker
    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401 - used by torch's exporter
    except ImportError as error:
        raise UserError(f"{error.name} is missing: pip install -e '.[export]'.") from error
    images = data.splits["test"].images[:CHECKED]
    program = _export(WithPreprocessing(classifier, data).eval(), images[:2])
    model = program.model_proto
    texts = {k: v if isinstance(v, str) else json.dumps(v) for k, v in metadata.items()}
    onnx.helper.set_model_props(model, texts)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    ours = compute_logits(classifier, data, images).softmax(1)
    # Batches of several sizes, including 1, check that the batch size is dynamic.
    parts = [images[:1], *images[1:].split(48)]
    answers = [session.run(None, {"images": part.numpy()})[0] for part in parts]
    theirs = torch.from_numpy(np.concatenate(answers))
    difference = (ours - theirs).abs().max().item()
    if not difference <= TOLERANCE:
        raise UserError(
            f"ONNX Runtime differs from PyTorch by {difference:.1e}, more than {TOLERANCE:.0e}: "
            "nothing is written."
        )
    write_atomically(path, lambda beside: beside.write_bytes(model.SerializeToString()))
    return difference


def measured(checkpoint: Path) -> dict[str, Any]:
    """Reads the accuracies and the commit of this checkpoint from its run folder."""
    found: dict[str, Any] = {}
    # Missing values, and values in another format, are left out.
    with suppress(OSError, ValueError, LookupError, TypeError, RuntimeError, UserError):
        content = read_checkpoint(checkpoint)
        keeper = content["callbacks"]["BestAndLast"]
        if keeper["best_epoch"] != content["epoch"]:
            return {}  # the scores are those of the best epoch
        if keeper["best_score"]:
            found["val_accuracy"] = float(keeper["best_score"][0])
        results = json.loads(
            (checkpoint.parent.parent / "results.json").read_text(encoding="utf-8")
        )
        if results["best_epoch"] == content["epoch"]:
            found["test_accuracy"] = float(results["test_accuracy"])
            found["commit"] = str(results["commit"])
    return found


def _export(module: nn.Module, example: Tensor) -> torch.onnx.ONNXProgram:
    with warnings.catch_warnings(), _silence():
        warnings.simplefilter("ignore")  # the exporter's internal warnings
        try:
            return torch.onnx.export(
                module,
                (example,),
                dynamo=True,
                verbose=False,
                input_names=["images"],
                output_names=["probabilities"],
                dynamic_shapes={"images": {0: torch.export.Dim("N")}},
            )
        except torch.onnx.OnnxExporterError as error:
            lines = str(error.__cause__ or error).strip().splitlines()
            raise UserError(
                f"the network cannot be exported: {lines[0]} Its forward has to take the same "
                "steps for all images, without `if` on their values."
            ) from error


@contextmanager
def _silence() -> Iterator[None]:
    """PyTorch logs and prints the whole graph several times if it cannot export it."""
    before = logging.root.manager.disable
    logging.disable()
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(before)
