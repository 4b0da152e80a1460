"""The demo: real questions about the standard library, answered before and after re-ranking."""
