"""The batch shell: commands that run rerank on Ray Data."""
