"""Candidate sets, and how logits become ranks."""
