"""Candidate sets, and their ranking by logits."""
