"""Uses a trained network: evaluation, prediction on files, export to ONNX."""
