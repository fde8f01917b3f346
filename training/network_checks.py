"""Checks of network, precision, optimizer and schedule before anything is written."""

import warnings

import torch
from lightning.pytorch import Trainer
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import ReduceLROnPlateau

from datamodules import InMemoryDataModule
from inference.inspection import check_outputs, count_trained
from lit_modules import LitClassifier
from terminal.devices import best_device
from terminal.errors import UserError, raising, warn


def check_network(module: LitClassifier, data: InMemoryDataModule) -> None:
    """Checks, on two images, that a network can be trained on these images.

    Raises:
        UserError: If it cannot; names the setting to change.
    """
    if not count_trained(module.net):
        raise UserError(
            f"all parameters of {type(module.net).__name__} are frozen: there is nothing to train."
        )
    output = check_outputs(module, data)
    if module.criterion is not None:
        _try_loss(module, len(data.classes), is_mixed=len(data.mix) > 0)
    # The user's own loss can have weights, which are on the CPU.
    zeros = apply_to_collection(output, Tensor, lambda part: torch.zeros(part.shape))
    with raising(TypeError):
        module.loss(zeros, torch.zeros(2, dtype=torch.long))


def _try_loss(module: LitClassifier, num_classes: int, is_mixed: bool) -> None:
    """Tries a loss of the user's own on random logits, with the labels of both stages."""
    criterion, name = module.criterion, type(module.criterion).__name__
    logits = torch.randn(2, num_classes, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, num_classes - 1])
    kinds = {"labels": labels}
    if is_mixed:
        kinds["probabilities"] = F.one_hot(labels, num_classes).float()
    for kind, given in kinds.items():
        try:
            loss, of_twice = criterion(logits, given), criterion(*_twice(logits, given))
        except (TypeError, ValueError, RuntimeError, IndexError) as error:
            raise UserError(
                f"model.loss: {name} does not take logits {tuple(logits.shape)} and {kind} "
                f"{tuple(given.shape)}: {error}"
            ) from error
        is_scalar = isinstance(loss, Tensor) and loss.is_floating_point() and loss.ndim == 0
        if not is_scalar or (loss != 0 and torch.isclose(of_twice, 2 * loss)):
            raise UserError(
                f"model.loss: {name} has to return the mean over the batch, a scalar. Set "
                "--model.loss.reduction mean, if it has that."
            )


def _twice(*tensors: Tensor) -> list[Tensor]:
    return [torch.cat([tensor, tensor]) for tensor in tensors]


def check_precision(module: LitClassifier, precision: str | int, accelerator: str) -> None:
    """Checks that the device has this arithmetic, and that the optimizer's eps is not 0 in it.

    With an eps of 0, the training would seem to diverge.

    Args:
        module: The LightningModule.
        precision: Precision of the Trainer.
        accelerator: Accelerator of the Trainer.

    Raises:
        UserError: If not; names what to set instead.
    """
    device = "cpu" if accelerator == "cpu" else best_device().type
    if str(precision) in ("16", "16-mixed") and device == "cpu":
        raise UserError(f"trainer.precision {precision} needs a GPU. Set bf16-mixed or 32-true.")
    if str(precision) in ("64", "64-true") and device == "mps":
        raise UserError(
            f"trainer.precision {precision}: MPS has no 64-bit numbers. Set 32-true, or "
            "--trainer.accelerator cpu."
        )
    eps = module.build_optimizer().defaults.get("eps")
    is_zero = isinstance(eps, float) and not torch.tensor(eps, dtype=torch.float16)
    if precision == "16-true" and is_zero:
        raise UserError(
            f"model.optimizer.eps {eps} rounds to 0 in trainer.precision 16-true. Set "
            "--model.optimizer.eps 1e-4, or --trainer.precision bf16-true."
        )


def check_schedule(
    module: LitClassifier, trainer: Trainer, batches: int, is_validated: bool
) -> None:
    """Tries one step of the optimizer and of the schedule before anything is written.

    Warns if a schedule ends before or after the training.

    Args:
        module: The LightningModule.
        trainer: The Trainer.
        batches: Number of training batches per epoch.
        is_validated: Whether there are validation batches.

    Raises:
        UserError: If the optimizer cannot train this network, or the schedule does not fit the
            length of the training.
    """
    _try_optimizer(module)
    if module.schedule is None:
        return
    epochs = trainer.max_epochs
    steps = -(-batches // trainer.accumulate_grad_batches) * epochs
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.filterwarnings("ignore", "Detected call of")  # no optimizer step before
        try:
            scheduler = module.build_scheduler(module.build_optimizer(), steps, epochs)
            if not isinstance(scheduler, ReduceLROnPlateau):
                scheduler.step()  # some values are only checked here
        except (ValueError, TypeError, ZeroDivisionError) as error:
            raise UserError(
                f"model.schedule: {error}. The training has {steps} steps in {epochs} epochs."
            ) from error
    if isinstance(scheduler, ReduceLROnPlateau) and not is_validated:
        raise UserError(
            "model.schedule: ReduceLROnPlateau needs a validation, and "
            "trainer.limit_val_batches 0 leaves none."
        )
    for warning in caught:
        warn(str(warning.message))


def _try_optimizer(module: LitClassifier) -> None:
    """Tries an optimizer step on one-element parameters with the network's ranks."""
    ranks = sorted({p.ndim for p in module.net.parameters() if p.requires_grad})
    parameters = [nn.Parameter(torch.zeros([1] * rank)) for rank in ranks]
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    with raising(ValueError, TypeError, RuntimeError):
        module.optimizer_of(parameters).step()
