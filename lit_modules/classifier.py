"""What turns any classification network into something the Trainer can train."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.cli import OptimizerCallable
from lightning.pytorch.core.mixins.hparams_mixin import _given_hyperparameters
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, ReduceLROnPlateau
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy

from lit_modules.schedules import WarmupCosine

STAGES = ("train", "val", "test")


class LitClassifier(LightningModule):
    """A network with its loss, its metrics and its optimizer.

    Logs once an epoch `train/loss`, `train/acc`, `val/loss`, `val/acc`, `test/loss` and `test/acc`,
    each the exact mean over the samples of all processes; and `lr` each `log_every_n_steps`.

    Args:
        net: Any module from images (N, C, H, W) to logits (N, num_classes).
        optimizer: Makes the optimizer from the parameters; None is Adam as it comes. Weight decay
            leaves biases and the gains of norms alone.
        schedule: A `WarmupCosine`, evaluated before each step; or one of torch's schedulers,
            stepped after each epoch (`ReduceLROnPlateau` watches `val/loss`, or `val/acc` in mode
            max); or None, a constant learning rate.
        label_smoothing: Share of the training target that is spread evenly over all classes
            (Szegedy et al. 2015, https://arxiv.org/abs/1512.00567), in [0, 1).
        num_classes: Number of classes.
        compile: Whether training runs through `torch.compile`. The first batches take a minute or
            more. Checkpoints are the same.

    Raises:
        ValueError: If a value is out of range, one of the optimizer's included.
    """

    def __init__(
        self,
        net: nn.Module,
        optimizer: OptimizerCallable | None = None,
        schedule: WarmupCosine | Callable[[Optimizer], LRScheduler] | None = None,
        label_smoothing: float = 0.0,
        num_classes: int = 10,
        compile: bool = False,
    ) -> None:
        super().__init__()
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"label_smoothing must be in [0, 1), got {label_smoothing}")
        # Under the command line the hyperparameters are the config, from which the network is built
        # again by `load_from_checkpoint`. Modules and functions made in Python have no such plain
        # form: there it is `load_from_checkpoint(path, net=net)`.
        built_by_hand = _given_hyperparameters.get() is None
        self.save_hyperparameters(
            ignore=["net", "optimizer", "schedule"] if built_by_hand else None, logger=False
        )
        self.net = net.to(memory_format=torch.channels_last)  # docs/performance.md
        # Not as the default above: jsonargparse hands the values of a default class on to the class
        # that a config names instead, so that AdamW would get Adam's weight decay of 0.
        self.optimizer = _shared_by_copies(optimizer or torch.optim.Adam)
        is_function = schedule is not None and not isinstance(schedule, WarmupCosine)
        self.schedule = _shared_by_copies(schedule) if is_function else schedule
        self.label_smoothing = label_smoothing
        self.is_compiled = compile
        self.metrics = nn.ModuleDict()
        for stage in STAGES:
            self.metrics[f"{stage}/loss"] = MeanMetric(nan_strategy="disable")
            self.metrics[f"{stage}/acc"] = MulticlassAccuracy(
                num_classes, average="micro", validate_args=False
            )
        self._build_optimizer()  # a value that the optimizer refuses is refused here, not in `fit`

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, num_classes) of prepared images (N, C, H, W)."""
        return self.net(images)

    def setup(self, stage: str) -> None:
        if self.is_compiled and stage == "fit":
            self.net.compile()

    def loss(self, output: Tensor, labels: Tensor) -> Tensor:
        """Mean training loss of the network's output (N, num_classes) for labels (N,)."""
        if not isinstance(output, Tensor):
            raise TypeError(
                f"{type(self.net).__name__} returns auxiliary logits: train it with "
                "lit_modules.LitGoogLeNet, or take its auxiliary heads away"
            )
        return F.cross_entropy(output, labels, label_smoothing=self.label_smoothing)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        images, labels = batch
        output = self._outputs(images)
        loss = self.loss(output, labels)
        logits = output if isinstance(output, Tensor) else output[0]
        if batch_idx == 0:
            self._epoch: list[tuple[Tensor, Tensor, Tensor]] = []
        self._epoch.append((loss.detach(), logits.detach().argmax(1), labels))
        if self.trainer.is_last_batch:  # metrics of each step would cost as much as a small network
            self._update_metrics("train", *zip(*self._epoch, strict=True))
        return self._weighed(loss, len(labels), batch_idx)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        return self._evaluate("val", batch)

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        return self._evaluate("test", batch)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        step = self.trainer.global_step
        if step % self.trainer.log_every_n_steps == 0:
            for logger in self.loggers:
                logger.log_metrics({"lr": self.trainer.optimizers[0].param_groups[0]["lr"]}, step)

    def on_train_epoch_end(self) -> None:
        # Lightning would log these after the checkpoint is saved, and lose them in a kill between.
        metrics = self.trainer.callback_metrics
        means = {name: value for name, value in metrics.items() if name.startswith("train/")}
        for logger in self.loggers:
            logger.log_metrics(
                {"epoch": self.current_epoch, **means}, step=self.trainer.global_step - 1
            )

    def configure_optimizers(self) -> dict[str, Any]:
        optimizer = self._build_optimizer()
        if self.schedule is None:
            return {"optimizer": optimizer}
        if isinstance(self.schedule, WarmupCosine):
            steps = int(self.trainer.estimated_stepping_batches)
            # A step stands for its middle, so that neither the first nor the last one is wasted.
            scheduler = LambdaLR(optimizer, lambda i: self.schedule(min(1.0, (i + 0.5) / steps)))
            return {
                "optimizer": optimizer,
                "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
            }
        config: dict[str, Any] = {"scheduler": self.schedule(optimizer), "interval": "epoch"}
        if isinstance(config["scheduler"], ReduceLROnPlateau):
            # Lightning steps it after the epoch's checkpoint is saved, too late to go on from it.
            # As a step of the last batch it comes between the validation and the checkpoint.
            config["interval"] = "step"
            config["frequency"] = self.trainer.num_training_batches
            config["monitor"] = "val/loss" if config["scheduler"].mode == "min" else "val/acc"
        return {"optimizer": optimizer, "lr_scheduler": config}

    def _build_optimizer(self) -> Optimizer:
        parameters = [p for p in self.net.parameters() if p.requires_grad]
        kernels = [p for p in parameters if p.ndim > 1]
        biases_and_norms = [p for p in parameters if p.ndim <= 1]
        return self.optimizer(
            [{"params": kernels}, {"params": biases_and_norms, "weight_decay": 0.0}]
        )

    def _outputs(self, images: Tensor) -> Any:
        if self.is_compiled:  # for the shorter batches at the end of an epoch too, and no others
            torch._dynamo.maybe_mark_dynamic(images, 0)
        return self.net(images)

    def _weighed(self, loss: Tensor, samples: int, batch_idx: int) -> Tensor:
        """The loss such that its mean over the processes is the mean over all their samples.

        Processes average their gradients evenly. Where the last batches of an epoch do not divide
        by the number of processes, one has a sample more than another.
        """
        if self.trainer.world_size == 1 or batch_idx < self.trainer.num_training_batches - 2:
            return loss
        mean = torch.tensor(float(samples), device=self.device)
        return loss * samples / self.trainer.strategy.reduce(mean, reduce_op="mean")

    def _evaluate(self, stage: str, batch: tuple[Tensor, Tensor]) -> Tensor:
        images, labels = batch
        logits = self._outputs(images)
        loss = F.cross_entropy(logits, labels)
        self._update_metrics(stage, [loss], [logits.argmax(1)], [labels])
        return logits

    def _update_metrics(
        self,
        stage: str,
        losses: Sequence[Tensor],
        predictions: Sequence[Tensor],
        labels: Sequence[Tensor],
    ) -> None:
        """Adds batches to the metrics: the mean loss of each, and (N,) predictions and labels."""
        # A loss for each sample: without the check for NaN, which would wait for the device,
        # MeanMetric forgets the weight that it is given.
        of_samples = [
            loss.expand(len(of_batch)) for loss, of_batch in zip(losses, labels, strict=True)
        ]
        if any(len(of_batch) for of_batch in labels):
            self.metrics[f"{stage}/loss"].update(torch.cat(of_samples))
            self.metrics[f"{stage}/acc"].update(torch.cat(predictions), torch.cat(labels))
        for name in (f"{stage}/loss", f"{stage}/acc"):
            self.log(
                name,
                self.metrics[name],
                on_step=False,
                on_epoch=True,
                logger=stage != "train",  # see on_train_epoch_end
            )


def _shared_by_copies(make: Callable[..., Any]) -> Callable[..., Any]:
    """`make` as a plain function, which `deepcopy` leaves alone.

    What the command line gives refers to the Trainer, and averaging weights copies the module.
    """
    return lambda *args: make(*args)
