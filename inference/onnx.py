"""Exports a network to one ONNX file that takes raw images."""

import json
import warnings
from contextlib import suppress
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
    """A network with its preprocessing before it and a softmax after it.

    Args:
        classifier: The network.
        data: The data module whose images it takes.

    Shapes:
        images uint8 (N, C, H, W) of the dataset's native size -> float (N, num_classes)
    """

    def __init__(self, classifier: LitClassifier, data: InMemoryDataModule) -> None:
        super().__init__()
        self.net = classifier.net
        self.preprocessing = data.preprocessing.cpu()
        # Resizing is linear in rows and in columns. As products with two matrices it means the same
        # to every runtime, which antialiased interpolation does not.
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
    """Writes an ONNX file, and checks its probabilities of test images against PyTorch's.

    Its input `images` is uint8 (N, C, H, W) of the dataset's native size with any N, its output
    `probabilities` float (N, num_classes).

    Args:
        classifier: The network, in eval mode on the CPU.
        data: Its data module, with the test set loaded.
        path: The file to write.
        metadata: Plain values to store in the file, texts as they are and others as JSON.

    Returns:
        The largest difference between a probability of ONNX Runtime and of PyTorch.

    Raises:
        UserError: If that is above 1e-4, or the packages are missing; then nothing is written.
    """
    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401 - what torch exports by
    except ImportError as error:
        raise UserError(f"{error.name} is missing: pip install -e '.[export]'.") from error
    images = data.splits["test"].images[:CHECKED]
    program = _export(WithPreprocessing(classifier, data).eval(), images[:2])
    model = program.model_proto
    texts = {k: v if isinstance(v, str) else json.dumps(v) for k, v in metadata.items()}
    onnx.helper.set_model_props(model, texts)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    ours = compute_logits(classifier, data, images).softmax(1)
    # In batches of several sizes, one image included, as the batch has to be free.
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
    """The accuracies and the commit that the run folder has for this epoch."""
    found: dict[str, Any] = {}
    # What is not there, or not as a run of ours writes it, is not said.
    with suppress(OSError, ValueError, LookupError, TypeError, RuntimeError, UserError):
        content = read_checkpoint(checkpoint)
        keeper = content["callbacks"]["BestAndLast"]
        if keeper["best_epoch"] != content["epoch"]:
            return {}  # it is not the best epoch, which alone was measured for good
        if keeper["best_score"]:
            found["val_accuracy"] = float(keeper["best_score"][0])
        results = json.loads((checkpoint.parent.parent / "results.json").read_text())
        if results["best_epoch"] == content["epoch"]:
            found["test_accuracy"] = float(results["test_accuracy"])
            found["commit"] = str(results["commit"])
    return found


def _export(module: nn.Module, example: Tensor) -> torch.onnx.ONNXProgram:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter, about its own insides
        return torch.onnx.export(
            module,
            (example,),
            dynamo=True,
            verbose=False,
            input_names=["images"],
            output_names=["probabilities"],
            dynamic_shapes={"images": {0: torch.export.Dim("N")}},
        )
