"""Layers that are faster than those of the models that they replace."""
