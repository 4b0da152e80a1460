"""Other libraries with the same weights, which the scorer is compared with."""
