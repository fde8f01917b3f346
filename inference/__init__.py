"""Uses a trained network: evaluation, prediction on image files, export to ONNX."""
