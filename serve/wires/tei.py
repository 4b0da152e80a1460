"""Hugging Face text-embeddings-inference: `texts` in, a bare array out.

Source: https://huggingface.github.io/text-embeddings-inference (rerank), router/src/http/server.rs
"""

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any

from pydantic import BaseModel, Field

from rerank.types import RerankRequest, TokenLimits
from serve.errors import EmptyError, ErrorResponse
from serve.wires import ParsedRequest, RankingResponse
from serve.wires.fields import Count, Query, Refused, Texts
from serve.wires.read import check_count, read_body, read_texts
from serve.wires.write import echoing, entries

__all__ = ["STATUS", "Body", "error", "parse"]

STATUS: Mapping[str, int] = {"input": 422, "not_json": 422, "empty": 400, "limit": 413, "too_long": 413, "model": 424}

_TYPES = {429: "Overloaded", 503: "Unhealthy", 424: "Backend", 500: "Backend", 504: "Backend"}


class Body(BaseModel):
    """A rerank request."""

    model: str | None = None
    query: Query
    texts: Texts
    top_n: Count = Field(default=None, description="Number of scores, best first; all if left out (LiteLLM sends it).")
    raw_scores: bool | None = Field(default=None, description="Return logits instead of relevance scores.")
    return_text: bool | None = None
    truncate: bool | None = Field(
        default=None, description="false: refuse texts that are too long for the model, instead of cutting them."
    )
    truncation_direction: Annotated[Any, Refused("texts are cut at their end", neutral=("right", "Right"))] = None


def parse(values: Mapping[str, Any]) -> ParsedRequest:
    """Read a request. Raises InputError naming the field, EmptyError without texts."""
    body = read_body(Body, values)
    if not body.texts:
        raise EmptyError("texts must hold at least one text, got none")
    texts = read_texts(body.texts, "texts", text_fields=(), may_be_blank=True)
    limits = TokenLimits(strict=body.truncate is False)
    request = RerankRequest(body.query, texts, check_count(body.top_n, "top_n"), token_limits=limits)
    return ParsedRequest(body.model, request, partial(_render, body), "texts")


def _render(body: Body, response: RankingResponse) -> list[dict[str, Any]]:
    scored = entries(response.result.ranked, "score", raw=bool(body.raw_scores))
    return list(echoing(scored, "text", body.texts if body.return_text else None))


def error(failure: ErrorResponse) -> dict[str, Any]:
    """Return TEI's error body, with the fields that other clients read added."""
    kind = "Empty" if failure.code == "empty" else _TYPES.get(failure.status, "Validation")
    return {"error": failure.message, "error_type": kind, "message": failure.message, "detail": failure.message}
