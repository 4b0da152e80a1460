"""Fault isolation: find the pairs on which the engine fails."""
