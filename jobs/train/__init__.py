"""Training of the bundled cross-encoder: corpus, pairs, student, training loop; run `python -m jobs.train -o DIR`."""
