"""Cohere v1 and v2, which Jina, vLLM and Infinity share: `query`, `documents`, `top_n` in, `results` out.

Sources: https://docs.cohere.com/reference/rerank, https://api.jina.ai/redoc (Reranker), vLLM's and Infinity's servers.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

from pydantic import BaseModel, Field

from rerank.errors import InputError
from rerank.types import RerankRequest
from serve.problems import body_for_all as error
from serve.wires import Answer, Asked
from serve.wires.read import check_top, read_body, read_texts
from serve.wires.write import echoing, entries, usage

__all__ = ["STATUS", "Body", "error", "parse"]

STATUS: Mapping[str, int] = {}

_DOCUMENTS_PER_SEARCH_UNIT = 100


class Body(BaseModel):
    """A rerank request. Unknown fields are ignored, null is the same as left out."""

    model: str | None = Field(default=None, description="A name from GET /v1/models; the first one if left out.")
    query: str
    documents: list[Any] = Field(description="Strings, or objects with `text` (or with the fields in `rank_fields`).")
    top_n: int | None = Field(default=None, description="How many results come back, best first; all if left out.")
    return_documents: bool | None = Field(default=None, description="Echo each document's text beside its score.")
    rank_fields: list[str] | None = Field(default=None, description="Fields of document objects that are scored.")
    raw_scores: bool | None = Field(default=None, description="Logits instead of relevance scores (Infinity).")


def parse(values: Mapping[str, Any], *, least_top_n: int = 1) -> Asked:
    """Read a request. Raises InputError naming the field."""
    body = read_body(Body, values)
    if body.rank_fields == []:
        raise InputError("rank_fields must name at least one field, got a list of 0")
    texts = read_texts(body.documents, "documents", keys=body.rank_fields or ("text",))
    request = RerankRequest(body.query, texts, check_top(body.top_n, "top_n", least=least_top_n))
    return Asked(body.model, (request,), partial(_render, body, texts))


def _render(body: Body, texts: tuple[str, ...], answer: Answer) -> dict[str, Any]:
    scored = entries(answer.results[0].ranked, "relevance_score", raw=bool(body.raw_scores))
    originals = [{"text": text} for text in texts] if body.return_documents else None
    return {
        "id": answer.id,
        "model": answer.model,
        "results": list(echoing(scored, "document", originals)),
        "usage": usage(answer.results),
        "meta": {"billed_units": {"search_units": -(-len(texts) // _DOCUMENTS_PER_SEARCH_UNIT)}},
    }
