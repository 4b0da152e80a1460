"""vLLM's rerank request: Cohere's and Jina's, where `top_n` 0 means all.

Source: vllm/entrypoints, the rerank protocol.
"""

from collections.abc import Mapping
from functools import partial

from serve.wires import cohere
from serve.wires.cohere import error

__all__ = ["STATUS", "error", "parse"]

STATUS: Mapping[str, int] = {}

parse = partial(cohere.parse, least_top_n=0)
