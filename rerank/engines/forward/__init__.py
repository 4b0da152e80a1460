"""Ways to run a model over a batch."""
