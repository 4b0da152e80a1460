"""The Ray Data job that ranks candidate sets."""
