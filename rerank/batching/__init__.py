"""Batches of pairs from many requests: online only."""
