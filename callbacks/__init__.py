"""What happens around the steps of a training, as Lightning Callbacks."""

from callbacks.averaging import EMAWeightAveraging

__all__ = ["EMAWeightAveraging"]
