"""What a user says of the brightness of strokes."""

from typing import Literal

Inversion = Literal["auto", "yes", "no"]
