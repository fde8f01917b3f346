"""Uses a trained network: evaluation, prediction on image files, export to ONNX."""

import terminal  # noqa: F401 - before any library
