"""Candidate sets out of files."""
