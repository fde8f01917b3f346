"""A network out of a checkpoint that may be anybody's."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lit_modules import LitClassifier
from training.checkpoints import read_checkpoint
from training.errors import UserError, raising

# What a checkpoint may name without being asked about: classes that only make networks, and how
# they are trained.
TRUSTED = (
    *("lit_modules.", "models.", "torch.nn.", "torch.optim.", "torchvision.models."),
    *("lightning.pytorch.cli.instantiate_module", "lightning.pytorch.callbacks."),
)


def load_classifier(path: Path, trust_classes: bool = False) -> LitClassifier:
    """Builds the network of a checkpoint, with its weights, in eval mode on the CPU.

    Args:
        path: The checkpoint.
        trust_classes: Whether its classes may be of others than torch, torchvision, Lightning and
            this project. Importing and calling them is running code.

    Raises:
        UserError: If the file is no checkpoint, is damaged, holds code, names such a class without
            `trust_classes`, or was written by a module that was built by hand.
    """
    checkpoint = read_checkpoint(path)
    hyperparameters = checkpoint.get(LitClassifier.CHECKPOINT_HYPER_PARAMS_KEY, {})
    if "net" not in hyperparameters:
        raise UserError(
            f"the network of {path} was built by hand and is not written down in it: in Python, "
            "LitClassifier.load_from_checkpoint(path, net=...)."
        )
    foreign = sorted({name for name in _names(hyperparameters) if not name.startswith(TRUSTED)})
    if foreign and not trust_classes:
        raise UserError(
            f"{path} names {', '.join(foreign)}, which is neither of this project nor of torch, "
            "torchvision or Lightning. If you trust where the file is from: --trust_classes true."
        )
    with raising(ValueError, TypeError, RuntimeError):
        return LitClassifier.load_from_checkpoint(path, "cpu", weights_only=True).eval()


def _names(value: Any) -> Iterator[str]:
    """What could be imported: every string of two or more names with dots between."""
    if isinstance(value, str):
        parts = value.split(".")
        if len(parts) > 1 and all(part.isidentifier() for part in parts):
            yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _names(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _names(item)
