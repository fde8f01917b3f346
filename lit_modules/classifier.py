"""The LightningModule that trains any classification network."""

import math
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, Self

import torch
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer
from torch.optim.lr_scheduler import (
    CyclicLR,
    LambdaLR,
    LRScheduler,
    OneCycleLR,
    ReduceLROnPlateau,
)
from torchmetrics import Metric

from lit_modules.frozen import freeze_all_but, keep_statistics_of_frozen
from lit_modules.losses import balanced_weights, checked_weights, weighted_cross_entropy
from lit_modules.metrics import SampleMean, build_metrics, probabilities
from lit_modules.restored import FromCheckpoint
from lit_modules.schedules import Schedules, WarmupCosine, check_length, check_makes_scheduler
from lit_modules.small_maps import SmallMaps

STAGES = ("train", "val", "test")


class LitClassifier(FromCheckpoint):
    """A network with its loss, its metrics and its optimizer.

    Logs once an epoch `train/loss`, `train/acc`, `val/loss`, `val/acc`, `test/loss` and `test/acc`,
    each the exact mean over the samples of all processes; and `lr` each `log_every_n_steps`. Test
    and `Trainer.predict` run in 32 bits whatever the training's precision, as does everything that
    asks a checkpoint later.

    Args:
        net: Any module from images (N, C, H, W) to logits (N, num_classes).
        optimizer: Makes the optimizer from the parameters; None is Adam with its defaults. Weight
            decay is not applied to biases and norm parameters.
        schedule: A `WarmupCosine`, evaluated before each step; or one of torch's schedulers,
            stepped after each epoch (`ReduceLROnPlateau` after each validation; it watches
            `val/loss`, or `val/acc` in mode max); or `Schedules`, several of them, or stepped after
            each optimizer step, as `OneCycleLR` always is; or None, a constant learning rate.
        label_smoothing: Share of the training target that is spread evenly over all classes
            (Szegedy et al. 2015, https://arxiv.org/abs/1512.00567), in [0, 1). Of the
            cross-entropy alone.
        num_classes: Number of classes.
        trainable: Names of the parameters of `net` that are trained, with wildcards: `fc.*`, or a
            list; None is all. The others are frozen, and batch norms among them keep their
            statistics.
        loss: Any module from logits (N, num_classes) and labels (N,) to their mean loss, a scalar;
            None is the cross-entropy. Its own parameters are trained too. Where the data module
            mixes batches, the labels of the training are probabilities (N, num_classes).
        class_weights: Weight of each class in the training's cross-entropy, which is the mean over
            the samples of weight x loss; `balanced` is N / (classes x training images of the
            class), as scikit-learn's; None is 1.
        metrics: What makes metrics from the number of classes, as torchmetrics' classes
            `MulticlassF1Score` and the like do, or metrics; they are logged as `val/<name>` and
            `test/<name>`, see `build_metrics`.
        compile: Whether training runs through `torch.compile`. The first batches take a minute or
            more. Checkpoints do not change.

    Raises:
        ValueError: If a value is out of range, one of the optimizer's included.
    """

    def __init__(
        self,
        net: nn.Module,
        optimizer: OptimizerCallable | None = None,
        schedule: WarmupCosine | Schedules | Callable[[Optimizer], LRScheduler] | None = None,
        label_smoothing: float = 0.0,
        num_classes: int = 10,
        compile: bool = False,
        trainable: str | list[str] | None = None,
        loss: nn.Module | None = None,
        class_weights: Literal["balanced"] | list[float] | None = None,
        metrics: list[Callable[[int], Metric]] | None = None,
    ) -> None:
        super().__init__()
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"label_smoothing must be in [0, 1), got {label_smoothing}")
        if loss is not None and (label_smoothing or class_weights is not None):
            raise ValueError(
                "label_smoothing and class_weights are the cross-entropy's, the default loss: set "
                f"them to 0 and null, and give {type(loss).__name__} its own"
            )
        # Modules and functions made in Python have no plain form that a checkpoint could hold:
        # there it is `load_from_checkpoint(path, net=net)`. Under the command line the
        # hyperparameters are the config, from which the network is built again.
        made = ["net", "optimizer", "schedule", "loss", "metrics"]
        self.save_hyperparameters(ignore=made, logger=False)
        if "_instantiator" in self.hparams:
            self.save_hyperparameters(logger=False)
        self._config_of_net: Any = self.hparams.get("net")
        self.net = net.to(memory_format=torch.channels_last)  # docs/performance.md
        self.trainable = [trainable] if isinstance(trainable, str) else trainable
        if self.trainable is not None:
            freeze_all_but(net, self.trainable)
            self.train()  # Lightning leaves the mode as it finds it
        # Not as the default above: jsonargparse hands the values of a default class on to the class
        # that a config names instead, so that AdamW would get Adam's weight decay of 0.
        self.optimizer = _shared_by_copies(torch.optim.Adam if optimizer is None else optimizer)
        is_ours = schedule is None or isinstance(schedule, WarmupCosine | Schedules)
        if not is_ours:
            check_makes_scheduler(schedule)
        self.schedule = schedule if is_ours else _shared_by_copies(schedule)
        self.label_smoothing = label_smoothing
        self.criterion = loss
        self.num_classes = num_classes
        self.is_balanced = class_weights == "balanced"
        if class_weights is not None:
            weights = torch.ones(num_classes)
            if not self.is_balanced:
                weights = checked_weights(class_weights, num_classes)
            # Not in the checkpoint: it is the training's alone.
            self.register_buffer("class_weights", weights, persistent=False)
        else:
            self.class_weights = None
        self.is_compiled = compile
        self._compiled: Callable[[Tensor], Any] | None = None
        added = build_metrics(metrics or [], num_classes)
        self.added_metrics = tuple(added)
        self.metrics = nn.ModuleDict()
        for stage in STAGES:
            self.metrics[f"{stage}/loss"] = SampleMean()
            self.metrics[f"{stage}/acc"] = SampleMean()
            for name, metric in added.items() if stage != "train" else ():
                self.metrics[f"{stage}/{name}"] = metric.clone()
        self.build_optimizer()  # a value that the optimizer refuses is refused here, not in `fit`

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, num_classes) of preprocessed images (N, C, H, W)."""
        return self.net(images)

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        if self.trainable is not None:
            keep_statistics_of_frozen(self.net)
        return self

    def setup(self, stage: str) -> None:
        if stage != "fit":
            return
        if self.trainer.precision == "64-true":
            self.double()  # before a checkpoint is loaded; Lightning converts only after
        if self.is_balanced:
            counts = getattr(self.trainer.datamodule, "class_counts", None)
            if counts is None:
                raise ValueError(
                    "class_weights balanced asks the data module for class_counts, the number of "
                    "training images of each class, and this one has none: give a list instead"
                )
            self.class_weights.copy_(balanced_weights(counts))
        if self.is_compiled:
            compiled = torch.compile(self.net)
            self._compiled = lambda images: compiled(images)  # no module, whose keys would change

    def loss(self, output: Tensor, labels: Tensor) -> Tensor:
        """Mean loss of the network's output (N, num_classes) for labels (N,).

        In training the labels may be probabilities (N, num_classes). In validation and test the
        cross-entropy is without label smoothing and class weights. What overrides it is what
        `train/loss`, `val/loss` and `test/loss` are.
        """
        if not isinstance(output, Tensor):
            raise TypeError(
                f"{type(self.net).__name__} returns auxiliary logits: train it with "
                "lit_modules.LitGoogLeNet, or take its auxiliary heads away"
            )
        if self.criterion is not None:
            return self.criterion(output, labels)
        if labels.is_floating_point():
            labels = labels.to(output.dtype)
        if not self.training:
            return F.cross_entropy(output, labels)
        if self.class_weights is None:
            return F.cross_entropy(output, labels, label_smoothing=self.label_smoothing)
        return weighted_cross_entropy(output, labels, self.class_weights, self.label_smoothing)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        images, labels = batch
        if batch_idx == 0:
            self._log("train")
        if not len(labels):  # more processes than samples: a loss without an effect
            return sum(p.sum() for p in self.net.parameters() if p.requires_grad) * 0.0
        output = self._outputs(images)
        loss = self.loss(output, labels)
        logits = output if isinstance(output, Tensor) else output[0]
        self._update("train", loss.detach(), logits.detach(), labels)
        weight = self._weight(len(labels), batch_idx)
        return loss if weight == 1 else loss * weight

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        return self._evaluate("val", batch, batch_idx)

    def on_train_epoch_start(self) -> None:
        self._reset("train")
        self._forget_validation()

    def on_validation_epoch_start(self) -> None:
        self._reset("val")

    def on_test_epoch_start(self) -> None:
        self._reset("test")
        self.float()

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        self._compiled = None  # as everything that asks a checkpoint later
        images, labels = batch
        with torch.autocast(self.device.type, enabled=False):
            return self._evaluate("test", (self._in_32_bits(images), labels), batch_idx)

    def on_predict_epoch_start(self) -> None:
        self.float()

    def predict_step(self, batch: Tensor | Sequence[Tensor], batch_idx: int) -> Tensor:
        """Logits (N, num_classes) of a batch, in 32 bits: those that the test measures.

        `softmax(1)` of them are the probabilities. Of a data module, `Trainer.predict` asks about
        the test images, in their order.

        Args:
            batch: Images (N, C, H, W), alone or followed by their labels, which are not looked at.
                A data module has preprocessed them; a dataloader has to give them preprocessed.
            batch_idx: Its number.

        Raises:
            TypeError: If they are not.
        """
        images = self._in_32_bits(batch if isinstance(batch, Tensor) else batch[0])
        if not len(images):  # more processes than samples
            return images.new_empty(0, self.num_classes)
        with torch.autocast(self.device.type, enabled=False):
            return self(images)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        step = self.trainer.global_step
        is_first_part = batch_idx % self.trainer.accumulate_grad_batches == 0
        if is_first_part and step % self.trainer.log_every_n_steps == 0:
            for logger in self.loggers:
                logger.log_metrics({"lr": self.trainer.optimizers[0].param_groups[0]["lr"]}, step)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        if self.trainer.is_last_batch:
            self._forget_validation()

    def on_train_epoch_end(self) -> None:
        # Lightning would log these after the checkpoint is saved, and lose them in a kill between.
        metrics = self.trainer.callback_metrics
        means = {name: value for name, value in metrics.items() if name.startswith("train/")}
        for logger in self.loggers:
            logger.log_metrics(
                {"epoch": self.current_epoch, **means}, step=self.trainer.global_step - 1
            )
        # Lightning would step it after the epoch's checkpoint is saved, too late to go on from it.
        plateau = self.lr_schedulers()
        if isinstance(plateau, ReduceLROnPlateau):
            watched = "val/loss" if plateau.mode == "min" else "val/acc"
            if watched in metrics:
                plateau.step(metrics[watched])

    def configure_optimizers(self) -> dict[str, Any]:
        optimizer = self.build_optimizer()
        if self.schedule is None:
            return {"optimizer": optimizer}
        steps, epochs = self.trainer.estimated_stepping_batches, self.trainer.max_epochs
        scheduler = self.build_scheduler(optimizer, steps, epochs)
        config = {"scheduler": scheduler, "interval": self.interval_of(scheduler)}
        if isinstance(scheduler, ReduceLROnPlateau):  # see on_train_epoch_end
            config |= {"monitor": "val/loss", "frequency": sys.maxsize}
        return {"optimizer": optimizer, "lr_scheduler": config}

    def build_optimizer(self) -> Optimizer:
        """Builds the optimizer of the trainable parameters, without decay of biases and norms.

        Raises:
            ValueError: If it refuses a value, or is none.
        """
        parameters = [*self.net.parameters()]
        if self.criterion is not None:
            parameters += self.criterion.parameters()
        return self.optimizer_of(p for p in parameters if p.requires_grad)

    def optimizer_of(self, parameters: Iterable[nn.Parameter]) -> Optimizer:
        """Builds the optimizer of given parameters."""
        groups: tuple[list, list] = ([], [])
        for parameter in parameters:
            groups[parameter.ndim <= 1].append(parameter)
        kernels, biases_and_norms = groups
        optimizer = self.optimizer(
            [{"params": kernels}, {"params": biases_and_norms, "weight_decay": 0.0}]
        )
        if not isinstance(optimizer, Optimizer):
            raise ValueError(f"optimizer: it makes a {type(optimizer).__name__}, no optimizer")
        return optimizer

    def build_scheduler(self, optimizer: Optimizer, steps: float, epochs: int) -> LRScheduler:
        """Builds the schedule of a training of so many optimizer steps and epochs.

        Args:
            optimizer: What it changes the rates of.
            steps: Optimizer steps of the training, may be infinite.
            epochs: Its epochs; -1 where it is measured in steps.

        Raises:
            ValueError: If it does not fit this length.
        """
        if isinstance(self.schedule, WarmupCosine):
            if math.isinf(steps):
                raise ValueError("WarmupCosine spans the training: set max_epochs or max_steps")
            # A step stands for its middle, so that neither the first nor the last one is wasted.
            return LambdaLR(optimizer, lambda i: self.schedule(min(1.0, (i + 0.5) / steps)))
        if isinstance(self.schedule, Schedules):
            length = steps if self.schedule.interval == "step" else epochs
            return self.schedule.build(optimizer, length)
        scheduler = self.schedule(optimizer)
        if not isinstance(scheduler, LRScheduler):
            raise ValueError(f"it makes a {type(scheduler).__name__}, no learning-rate scheduler")
        interval = self.interval_of(scheduler)
        check_length(scheduler, steps if interval == "step" else epochs, interval)
        return scheduler

    def interval_of(self, scheduler: LRScheduler) -> str:
        """Whether a scheduler is stepped after each optimizer step or after each epoch."""
        if isinstance(self.schedule, Schedules):
            return self.schedule.interval
        is_per_step = isinstance(self.schedule, WarmupCosine)
        return "step" if is_per_step or isinstance(scheduler, OneCycleLR | CyclicLR) else "epoch"

    def _outputs(self, images: Tensor) -> Any:
        if self._compiled is None:
            with SmallMaps():
                return self.net(images)
        # For the shorter batches at the end of an epoch too, and no others.
        assert hasattr(torch._dynamo, "maybe_mark_dynamic"), (
            "this torch marks sizes that change under another name: see the documentation of "
            "torch.compile on dynamic shapes"
        )
        torch._dynamo.maybe_mark_dynamic(images, 0)
        return self._compiled(images)

    def _in_32_bits(self, images: Tensor) -> Tensor:
        """Preprocessed images (N, C, H, W) as test and prediction need them.

        Lightning has converted those of another data module to the training's precision.
        """
        if not images.is_floating_point():
            raise TypeError(
                f"the images are {str(images.dtype).removeprefix('torch.')}, as they are before "
                "preprocessing: pass the data module itself, or what its preprocess_images(images, "
                "is_training=False) makes of them"
            )
        return images.to(self.dtype)

    def _reset(self, stage: str) -> None:
        """Resets the metrics, of which an interrupted epoch may have left some."""
        for name, metric in self.metrics.items():
            if name.startswith(stage):
                metric.reset()

    def _forget_validation(self) -> None:
        """Removes the metrics of an earlier validation, which Lightning keeps.

        So what an epoch ends with is of the weights that it ends with, or is not there.
        """
        for name in self.metrics:
            if name.startswith("val/"):
                self.trainer.callback_metrics.pop(name, None)

    def _weight(self, samples: int, batch_idx: int) -> float:
        """Weight of a batch, so that the mean over an optimizer step is the mean over its samples.

        Processes, and batches that accumulate, average their gradients evenly. Where the last
        steps of an epoch do not divide by their number, one has a sample more than another.
        """
        sampler = getattr(self.trainer.train_dataloader, "sampler", None)
        if not hasattr(sampler, "samples_of_step"):  # another data module's, of even batches
            return 1.0
        shares = sampler.accumulate * self.trainer.world_size
        return samples * shares / sampler.samples_of_step(batch_idx // sampler.accumulate)

    def _evaluate(self, stage: str, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        images, labels = batch
        if batch_idx == 0:
            self._log(stage)
        if not len(labels):  # more processes than samples
            return images.new_empty(0, self.num_classes)
        logits = self._outputs(images)
        self._update(stage, self.loss(logits, labels), logits, labels)
        return logits

    def _update(self, stage: str, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Adds a batch to the metrics: its mean loss, logits (N, num_classes), labels (N,).

        Of mixed labels (N, num_classes) the accuracy counts the largest share.
        """
        number = len(labels)
        # A sum over a batch can be more than 16 bits hold.
        loss = loss.to(torch.promote_types(loss.dtype, torch.float32))
        self.metrics[f"{stage}/loss"].update(loss * number, number)
        largest = labels.argmax(1) if labels.ndim == 2 else labels
        self.metrics[f"{stage}/acc"].update((logits.argmax(1) == largest).sum(), number)
        for name in self.added_metrics if stage != "train" else ():
            # Not the logits: torchmetrics takes those for probabilities if all are from 0 to 1.
            self.metrics[f"{stage}/{name}"].update(probabilities(logits), labels)

    def _log(self, stage: str) -> None:
        """Logs the metrics of an epoch; Lightning computes them when it ends, early or not."""
        is_logged = stage != "train"  # the training's own reach the loggers in on_train_epoch_end
        for name, metric in self.metrics.items():
            if name.startswith(stage):
                self.log(name, metric, on_step=False, on_epoch=True, logger=is_logged)


def _shared_by_copies(make: Callable[..., Any]) -> Callable[..., Any]:
    """Wraps `make` in a plain function, which `deepcopy` does not copy.

    What the command line gives refers to the Trainer, and averaging weights copies the module.
    """
    return lambda *args: make(*args)
