"""What happens around the steps of a training, one Lightning Callback a file."""

from callbacks.averaging import EMAWeightAveraging

__all__ = ["EMAWeightAveraging"]
