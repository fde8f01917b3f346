"""What happens around the steps of a training, as Lightning Callbacks."""

from callbacks.averaging import EMAWeightAveraging
from callbacks.growing_images import GrowingImages

__all__ = ["EMAWeightAveraging", "GrowingImages"]
