"""The online shell: rerank behind HTTP on Ray Serve."""
