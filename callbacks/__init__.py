"""Lightning Callbacks that run around the training steps."""

import terminal  # noqa: F401 - before any library
from callbacks.averaging import EMAWeightAveraging

__all__ = ["EMAWeightAveraging"]
