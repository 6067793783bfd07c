"""What privacy costs: train and evaluate networks on original and obfuscated images. Needs the extra `study`."""
