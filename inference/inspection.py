"""What a network costs, and whether it takes the images it is going to get."""

import copy
import warnings
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torch.utils.flop_counter import FlopCounterMode

from datamodules import InMemoryDataModule
from lit_modules import LitClassifier
from terminal.errors import UserError, raising, warn

LARGEST_PROBED = 256  # pixels


def count_parameters(net: nn.Module) -> int:
    """Number of values that the network has learnt, or keeps as they are."""
    return sum(p.numel() for p in net.parameters())


def count_trained(net: nn.Module) -> int:
    """Number of values that training changes."""
    return sum(p.numel() for p in net.parameters() if p.requires_grad)


def count_macs(net: nn.Module, channels: int, image_size: int) -> int:
    """Multiply-accumulates of convolutions and linear layers for one image, forward."""
    net = copy.deepcopy(net).to("meta", torch.float32).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(torch.empty(1, channels, image_size, image_size, device="meta"))
    return counter.get_total_flops() // 2


def check_network(module: LitClassifier, data: InMemoryDataModule) -> None:
    """Makes sure, without any arithmetic, that a network can be trained on these images.

    Raises:
        UserError: If it cannot, with what has to change.
    """
    if not count_trained(module.net):
        raise UserError(
            f"all parameters of {type(module.net).__name__} are frozen: there is nothing to train."
        )
    output = check_outputs(module, data)
    # A loss of the user's own can have weights, on the CPU.
    zeros = apply_to_collection(output, Tensor, lambda part: torch.zeros(part.shape))
    with raising(TypeError):
        module.loss(zeros, torch.zeros(2, dtype=torch.long))


def check_outputs(module: LitClassifier, data: InMemoryDataModule) -> Any:
    """Makes sure that a network takes these images, and tells their classes apart.

    Returns:
        What it returns for two images in training, without values.

    Raises:
        UserError: If not, with what has to change.
    """
    check_image_size(module.net, data.channels, data.image_size)
    name = type(module.net).__name__
    net = copy.deepcopy(module.net).to("meta").train()
    output = net(torch.empty(2, data.channels, data.image_size, data.image_size, device="meta"))
    logits = output[0] if isinstance(output, tuple) and output else output
    if not isinstance(logits, Tensor):
        raise UserError(f"{name} returns a {type(logits).__name__}, and no logits.")
    if logits.shape != (2, len(data.classes)):
        raise UserError(
            f"{name} returns {tuple(logits.shape[1:])} values an image, and {data.name} has "
            f"{len(data.classes)} classes. See the network's num_classes."
        )
    if module.num_classes != len(data.classes):
        raise UserError(
            f"model.num_classes is {module.num_classes}, and {data.name} has {len(data.classes)} "
            "classes."
        )
    return output


def check_precision(module: LitClassifier, precision: str | int, accelerator: str) -> None:
    """Makes sure that 16 bits are there, and do not make the optimizer divide by 0.

    That would look as if the training had diverged.

    Args:
        module: What is trained.
        precision: The Trainer's.
        accelerator: The Trainer's.

    Raises:
        UserError: If not, with what to set instead.
    """
    is_on_processor = accelerator == "cpu" or not torch.accelerator.is_available()
    if str(precision) in ("16", "16-mixed") and is_on_processor:
        raise UserError(f"trainer.precision {precision} needs a GPU. Set bf16-mixed or 32-true.")
    eps = module.build_optimizer().defaults.get("eps")
    is_zero = isinstance(eps, float) and not torch.tensor(eps, dtype=torch.float16)
    if precision == "16-true" and is_zero:
        raise UserError(
            f"model.optimizer.eps {eps} is 0 in the numbers of trainer.precision 16-true. Set "
            "--model.optimizer.eps 1e-4, or --trainer.precision bf16-true."
        )


def check_schedule(
    module: LitClassifier, trainer: Trainer, batches: int, is_validated: bool
) -> None:
    """Makes a step of the optimizer and of the schedule, before anything is written.

    Warns where a schedule ends before or after the training.

    Args:
        module: What is trained.
        trainer: The Trainer.
        batches: Training batches of an epoch.
        is_validated: Whether there are validation batches.

    Raises:
        UserError: If the optimizer cannot train this network, or there is no such schedule for a
            training of this length.
    """
    _try_optimizer(module)
    if module.schedule is None:
        return
    epochs = trainer.max_epochs
    steps = -(-batches // trainer.accumulate_grad_batches) * epochs
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.filterwarnings("ignore", "Detected call of")  # a step of the schedule alone
        try:
            scheduler = module.build_scheduler(module.build_optimizer(), steps, epochs)
            if not isinstance(scheduler, ReduceLROnPlateau):
                scheduler.step()  # some values are only found out here
        except (ValueError, TypeError, ZeroDivisionError) as error:
            raise UserError(
                f"model.schedule: {error}. The training has {steps} steps in {epochs} epochs."
            ) from error
    if isinstance(scheduler, ReduceLROnPlateau) and not is_validated:
        raise UserError(
            "model.schedule: ReduceLROnPlateau watches the validation, and "
            "trainer.limit_val_batches 0 leaves none."
        )
    for warning in caught:
        warn(str(warning.message))


def _try_optimizer(module: LitClassifier) -> None:
    """Makes a step with parameters of a single value, of as many dimensions as the network's."""
    ranks = sorted({p.ndim for p in module.net.parameters() if p.requires_grad})
    parameters = [nn.Parameter(torch.zeros([1] * rank)) for rank in ranks]
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    with raising(ValueError, TypeError, RuntimeError):
        module.optimizer_of(parameters).step()


def check_image_size(net: nn.Module, channels: int, image_size: int) -> None:
    """Sends two images without content through the network, which costs no arithmetic.

    Raises:
        UserError: If the network does not take them; names the smallest size that it takes.
    """
    problem = _refusal(net, channels, image_size)
    if not problem:
        return
    name = type(net).__name__
    sizes = range(1, LARGEST_PROBED)
    smallest = next((size for size in sizes if not _refusal(net, channels, size)), None)
    if smallest is None:
        raise UserError(
            f"{name} does not take images of {channels} channels: {problem}. "
            "See data.channels and the network's in_channels."
        )
    raise UserError(
        f"{name} cannot take images of {image_size} x {image_size}, but of {smallest} x {smallest}"
        f"{' and more' if image_size < smallest else ''}. Set --data.image_size {smallest}"
        + (" or more." if image_size < smallest else ".")
    )


def _refusal(net: nn.Module, channels: int, image_size: int) -> str:
    """What the network says against such images; empty if it takes them."""
    net = copy.deepcopy(net).to("meta").train()
    try:
        net(torch.empty(2, channels, image_size, image_size, device="meta"))
    except (RuntimeError, ValueError) as error:
        return str(error)
    return ""
