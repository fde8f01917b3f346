"""The LightningModule of GoogLeNet, with the losses of its auxiliary heads."""

from typing import Any

from torch import Tensor

from lit_modules.classifier import LitClassifier


class LitGoogLeNet(LitClassifier):
    """Trains a network with auxiliary heads.

    The training loss is CE(logits) + aux_weight x the sum of CE(auxiliary logits) over the heads
    (Szegedy et al. 2014, section 5, https://arxiv.org/abs/1409.4842). Metrics use the main logits.

    Args:
        aux_weight: Weight of each auxiliary loss.
        kwargs: The arguments of `LitClassifier`; in training, `net` returns a named tuple of
            logits, the main ones first.

    Raises:
        ValueError: If a value is out of range.
        TypeError: In `loss`, if the network returns no auxiliary logits.
    """

    def __init__(self, *args: Any, aux_weight: float = 0.3, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if aux_weight < 0:
            raise ValueError(f"aux_weight must be at least 0, got {aux_weight}")
        self.aux_weight = aux_weight

    def loss(self, output: tuple[Tensor, ...] | Tensor, labels: Tensor) -> Tensor:
        """Loss of the logits and, in training, auxiliary logits, each (N, num_classes)."""
        if not self.training:
            return super().loss(output, labels)
        if isinstance(output, Tensor):
            raise TypeError(
                f"{type(self.net).__name__} returns no auxiliary logits: train it with "
                "lit_modules.LitClassifier, or enable its auxiliary heads"
            )
        logits, *auxiliary = output
        auxiliary_losses = [super(LitGoogLeNet, self).loss(head, labels) for head in auxiliary]
        return super().loss(logits, labels) + self.aux_weight * sum(auxiliary_losses)
