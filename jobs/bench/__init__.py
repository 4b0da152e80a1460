"""Benchmarks of the pipeline, the scorer and the server on this machine; they measure and assert nothing."""
