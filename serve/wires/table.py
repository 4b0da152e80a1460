"""Which protocol a body speaks: a declared table of keys, because several protocols share their paths."""

from collections.abc import Mapping
from typing import Any

from serve.wires import Wire, cohere, mixedbread, nim, tei, vllm, voyage

_BY_KEY: tuple[tuple[str, Wire], ...] = (
    ("texts", tei),
    ("input", mixedbread),
    ("passages", nim),
    ("top_k", voyage),
    ("truncation", voyage),
    ("truncate_prompt_tokens", vllm),
    ("documents", cohere),
)


def wire_of(body: Mapping[str, Any], *, otherwise: Wire) -> Wire:
    """The wire of the first key in the table that the body has, even as null; `otherwise` where it has none."""
    return next((wire for key, wire in _BY_KEY if key in body), otherwise)
