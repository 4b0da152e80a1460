"""`rerank tune`: what depth, threshold and mixture are worth, from logits that are already there."""
