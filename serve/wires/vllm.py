"""vLLM's rerank request: as Cohere's and Jina's, but a `top_n` of 0 means all.

Source: vllm/entrypoints, the rerank protocol.
"""

from collections.abc import Mapping
from functools import partial

from serve.wires import cohere
from serve.wires.cohere import Body, error

__all__ = ["STATUS", "Body", "error", "parse"]

STATUS: Mapping[str, int] = {}

parse = partial(cohere.parse, least_top_n=0)
