"""Tests of the demo: its corpus, its questions and its first stage."""
