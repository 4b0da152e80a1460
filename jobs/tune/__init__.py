"""`rerank tune`: compare depths, thresholds and mixtures, using the logits of a finished run."""
