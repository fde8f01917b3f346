"""Networks asked about images: out of a checkpoint, about files, as ONNX."""
