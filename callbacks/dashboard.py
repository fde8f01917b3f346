"""Writes everything but the scalars to TensorBoard: pictures, curves, the graph."""

import copy
import warnings
from collections.abc import Mapping
from contextlib import redirect_stdout
from io import StringIO
from textwrap import shorten
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams
from torchmetrics.classification import MulticlassConfusionMatrix, MulticlassPrecisionRecallCurve
from torchvision.utils import make_grid

from callbacks.mistakes import ConfidentMistakes
from callbacks.pictures import (
    draw_class_accuracies,
    draw_confusion_matrix,
    draw_mistakes,
    first_filters,
    visible,
)
from callbacks.stopwatch import Stopwatch
from terminal.devices import peak_memory_bytes
from terminal.errors import warn

SHOWN = 32  # images of a batch, mistakes
THRESHOLDS = 101  # of a precision-recall curve
LAYOUT = {
    "learning curves": {
        "loss": ["Multiline", ["train/loss", "val/loss"]],
        "accuracy": ["Multiline", ["train/acc", "val/acc"]],
    }
}


class Dashboard(Callback):
    """Writes pictures, curves and the graph to TensorBoard, outside of the training steps.

    Every `every_n_epochs`, after the last epoch and after the test: confusion matrix, accuracy by
    class, precision-recall curves and the most confident mistakes; in training also the filters of
    the first layer. Once: the graph, a batch after augmentation, the config, HParams. Each epoch:
    images per second and memory. All processes compute, the first one draws.

    Args:
        stopwatch: The callback that times the epochs.
        config: The run's config as text.
        hyperparameters: Values by which TensorBoard compares runs.
        every_n_epochs: Epochs between two drawings.
    """

    def __init__(
        self,
        stopwatch: Stopwatch,
        config: str,
        hyperparameters: Mapping[str, Any],
        every_n_epochs: int = 5,
    ) -> None:
        self.stopwatch = stopwatch
        self.config = config
        self.hyperparameters = hyperparameters
        self.every_n_epochs = every_n_epochs

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        number = len(trainer.datamodule.classes)
        device = trainer.strategy.root_device
        self.confusion = MulticlassConfusionMatrix(number, validate_args=False).to(device)
        self.curves = MulticlassPrecisionRecallCurve(
            number, thresholds=THRESHOLDS, validate_args=False
        ).to(device)
        self.mistakes = ConfidentMistakes(SHOWN)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        writer = _writer(trainer)
        if writer is None:
            return
        writer.add_custom_scalars(LAYOUT)
        writer.add_text("config", "    " + self.config.replace("\n", "\n    "))
        metrics = dict.fromkeys(("val/acc", "val/loss", "test/acc", "test/loss"), 0)
        for summary in hparams(dict(self.hyperparameters), metrics):
            writer.file_writer.add_summary(summary)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step > 0 or batch_idx > 0:
            return
        writer = _writer(trainer)
        if writer is not None:
            images = visible(batch[0][:SHOWN], trainer.datamodule)
            writer.add_image("train/augmented", make_grid(images, nrow=8, padding=1), 0)
            _add_graph(writer, pl_module.net, batch[0][:1])

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        writer = _writer(trainer)
        if writer is None:
            return
        step = trainer.global_step - 1
        speed = self.stopwatch.images_per_second[-1]
        memory = peak_memory_bytes(trainer.strategy.root_device) / 2**30
        writer.add_scalar("performance/images_per_second", speed, step)
        writer.add_scalar("performance/peak_memory_gib", memory, step)
        if self._is_due(trainer) and (filters := first_filters(pl_module.net)) is not None:
            writer.add_image("net/first_layer", filters, step)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Tensor,
        batch: tuple[Tensor, Tensor],
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if self._is_due(trainer):
            self._update(outputs, *batch)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._is_due(trainer):
            self._draw(trainer, "test" if trainer.testing else "val")

    on_test_batch_end = on_validation_batch_end
    on_test_epoch_end = on_validation_epoch_end

    def _is_due(self, trainer: Trainer) -> bool:
        epoch = trainer.current_epoch + 1
        return trainer.testing or epoch % self.every_n_epochs == 0 or epoch == trainer.max_epochs

    def _update(self, logits: Tensor, images: Tensor, labels: Tensor) -> None:
        if len(labels):
            probabilities = logits.float().softmax(1)
            self.confusion.update(probabilities, labels)
            self.curves.update(probabilities, labels)
            self.mistakes.update(probabilities, images, labels)

    def _draw(self, trainer: Trainer, stage: str) -> None:
        confusion = self.confusion.compute().cpu()  # each of these waits for all processes
        with self.curves.sync_context():
            counts = self.curves.confmat.cpu()
        mistakes = self.mistakes.compute()
        for metric in (self.confusion, self.curves, self.mistakes):
            metric.reset()
        writer = _writer(trainer)
        if writer is None:
            return
        classes = trainer.datamodule.classes
        step = max(0, trainer.global_step - 1)
        for name, figure in (
            ("confusion_matrix", draw_confusion_matrix(confusion, classes)),
            ("accuracy_by_class", draw_class_accuracies(confusion, classes)),
            ("confident_mistakes", draw_mistakes(mistakes, trainer.datamodule)),
        ):
            writer.add_figure(f"{stage}/{name}", figure, step)
        for index, name in enumerate(classes):
            _add_curve(writer, f"{stage}/{name}", counts[:, index], step)


def _writer(trainer: Trainer) -> SummaryWriter | None:
    """TensorBoard's writer, in the first process alone."""
    if not trainer.is_global_zero:
        return None
    loggers = [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
    return loggers[0].experiment if loggers else None


def _add_graph(writer: SummaryWriter, net: nn.Module, images: Tensor) -> None:
    # On a copy in eval mode: tracing changes the module, and draws random numbers in train mode.
    # On the processor: it compares outputs in 64 bits, which MPS does not have.
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()):  # torch prints the error too
            warnings.simplefilter("ignore")
            net = copy.deepcopy(net).cpu().eval()
            writer.add_graph(net, images.cpu().to(next(net.parameters()).dtype))
    except Exception as error:  # a missing graph must not stop the training
        reason = str(error).partition("\n")[0]  # the lines after it show the code of torch
        warn(f"TensorBoard shows no graph: {shorten(f'{type(error).__name__} {reason}', 160)}")


def _add_curve(writer: SummaryWriter, tag: str, counts: Tensor, step: int) -> None:
    """Adds the precision-recall curve of a class from its counts (thresholds, true, predicted)."""
    negatives, positives = counts.unbind(1)
    tn, fp = negatives.unbind(1)
    fn, tp = positives.unbind(1)
    writer.add_pr_curve_raw(
        tag,
        *(tp, fp, tn, fn, tp / (tp + fp).clamp(min=1), tp / (tp + fn).clamp(min=1)),
        global_step=step,
        num_thresholds=THRESHOLDS,
    )
