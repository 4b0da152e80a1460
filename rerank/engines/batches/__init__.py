"""Cut rows of tokens into batches, and run them on a device."""
