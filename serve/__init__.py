"""The online shell: reranking over HTTP with Ray Serve."""
