"""Voyage: `documents`, `top_k` and `truncation` in, `data` out.

Source: https://docs.voyageai.com/reference/reranker-api
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

from pydantic import BaseModel, Field

from rerank.types import RerankRequest, TokenLimits
from serve.errors import body_for_all as error
from serve.wires import ParsedRequest, RankingResponse
from serve.wires.fields import Count, Query, TextsOrObjects
from serve.wires.read import check_count, read_body, read_texts
from serve.wires.write import echoing, entries, usage

__all__ = ["STATUS", "Body", "error", "parse"]

STATUS: Mapping[str, int] = {}


class Body(BaseModel):
    """A rerank request."""

    model: str | None = None
    query: Query
    documents: TextsOrObjects
    top_k: Count = None
    truncation: bool | None = Field(
        default=None, description="false: refuse documents that are too long for the model, instead of cutting them."
    )
    return_documents: bool | None = None


def parse(values: Mapping[str, Any]) -> ParsedRequest:
    """Read a request. Raises InputError naming the field."""
    body = read_body(Body, values)
    texts = read_texts(body.documents, "documents", may_be_blank=True)
    limits = TokenLimits(strict=body.truncation is False)
    request = RerankRequest(body.query, texts, check_count(body.top_k, "top_k"), token_limits=limits)
    return ParsedRequest(body.model, request, partial(_render, texts if body.return_documents else None))


def _render(echoed: tuple[str, ...] | None, response: RankingResponse) -> dict[str, Any]:
    scored = entries(response.result.ranked, "relevance_score")
    return {
        "object": "list",
        "data": list(echoing(scored, "document", echoed)),
        "model": response.model,
        "usage": usage(response.result),
    }
