"""Cohere v1 and v2, which Jina, vLLM and Infinity share: `query`, `documents`, `top_n` in, `results` out.

Sources: https://docs.cohere.com/reference/rerank, https://api.jina.ai/redoc (Reranker), vLLM's and Infinity's servers.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

from pydantic import Field

from rerank.errors import InputError
from rerank.types import RerankRequest, TokenLimits
from serve.errors import body_for_all as error
from serve.wires import Answer, Asked
from serve.wires.fields import Count, Documents, Query
from serve.wires.options import VllmOptions
from serve.wires.read import check_top, read_body, read_texts, shown, text_keys
from serve.wires.write import echoing, entries, usage

__all__ = ["STATUS", "Body", "error", "parse"]

STATUS: Mapping[str, int] = {}

_DOCUMENTS_PER_SEARCH_UNIT = 100


class Body(VllmOptions):
    """A rerank request. Unknown fields are ignored, null is the same as left out."""

    model: str | None = Field(default=None, description="A name from GET /v1/models; the first one if left out.")
    query: Query
    documents: Documents = Field(description="Strings, or objects with `text` (or with the fields in `rank_fields`).")
    top_n: int | None = Field(
        default=None,
        description="How many results come back, best first; all if left out, and for 0 beside vLLM's options.",
        json_schema_extra={"minimum": 0},
    )
    return_documents: bool | None = Field(default=None, description="Echo each document's text beside its score.")
    rank_fields: list[str] | None = Field(
        default=None, description="Fields of document objects that are scored.", json_schema_extra={"minItems": 1}
    )
    raw_scores: bool | None = Field(default=None, description="Logits instead of relevance scores (Infinity).")
    max_chunks_per_doc: Count = Field(
        default=None, description="At least 1: a document is one chunk, cut where the model's limit is (Cohere v1)."
    )
    relevant_spans: dict[str, Any] | None = Field(
        default=None, description="Refused where its `mode` is `enabled`: no model here gives spans (Cohere v2)."
    )


def parse(values: Mapping[str, Any], *, least_top_n: int = 1) -> Asked:
    """Read a request. Raises InputError naming the field."""
    body = read_body(Body, values)
    texts = read_texts(body.documents, "documents", keys=text_keys(body.rank_fields))
    top_k = check_top(body.top_n, "top_n", least=least_top_n)
    request = RerankRequest(body.query, texts, top_k, token_limits=_token_limits(body))
    return Asked(body.model, (request,), partial(_render, body, texts))


def _token_limits(body: Body) -> TokenLimits:
    check_top(body.max_chunks_per_doc, "max_chunks_per_doc")
    mode = (body.relevant_spans or {}).get("mode")
    if mode not in (None, "disabled"):
        raise InputError(f"relevant_spans.mode must be 'disabled': no model here gives spans, got {shown(mode)}")
    return body.token_limits


def _render(body: Body, texts: tuple[str, ...], answer: Answer) -> dict[str, Any]:
    raw = bool(body.raw_scores) or body.use_activation is False
    scored = entries(answer.results[0].ranked, "relevance_score", raw=raw)
    originals = [{"text": text} for text in texts] if body.return_documents else None
    return {
        "id": answer.id,
        "model": answer.model,
        "results": list(echoing(scored, "document", originals)),
        "usage": usage(answer.results),
        "meta": {"billed_units": {"search_units": -(-len(texts) // _DOCUMENTS_PER_SEARCH_UNIT)}},
    }
