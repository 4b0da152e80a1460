"""Cascades: several models in a row, each of which ranks what the one before it kept."""
