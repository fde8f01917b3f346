"""Classic convolutional networks, one paper per file, as plain `torch.nn` modules."""
