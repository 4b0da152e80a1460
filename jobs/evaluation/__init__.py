"""Rankings, judgements and the measures between them."""
