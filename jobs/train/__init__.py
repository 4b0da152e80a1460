"""Training of the bundled cross-encoder: corpus, pairs, student, loop; `python -m jobs.train --out DIR`."""
