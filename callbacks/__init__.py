"""Lightning Callbacks that run around the training steps."""

from callbacks.averaging import EMAWeightAveraging

__all__ = ["EMAWeightAveraging"]
