"""Find the pairs that the engine fails on."""
