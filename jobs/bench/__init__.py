"""Benchmarks: what the pipeline and the scorer do on this machine, measured and never asserted."""
