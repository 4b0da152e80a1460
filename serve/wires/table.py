"""Which protocol a request body follows: a table of body fields, because several protocols share their paths."""

from collections.abc import Mapping
from typing import Any

from serve.wires import Wire, cohere, mixedbread, nim, voyage
from serve.wires.tei import rerank as tei

_BY_FIELD: tuple[tuple[str, Wire], ...] = (
    ("texts", tei),
    ("input", mixedbread),
    ("passages", nim),
    ("top_k", voyage),
    ("truncation", voyage),
    ("documents", cohere),
)


def wire_of(body: Mapping[str, Any], *, otherwise: Wire) -> Wire:
    """Return the wire of the first field in the table that the body has, even as null; `otherwise` if it has none."""
    return next((wire for field, wire in _BY_FIELD if field in body), otherwise)
