"""TEI's `/rerank`: `texts` in, a bare array out, best first."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from pydantic import Field

from rerank.types import RerankRequest, TokenLimits
from serve.errors import EmptyError
from serve.wires import ParsedRequest, RankingResponse
from serve.wires.fields import Count, Query, Texts
from serve.wires.read import check_count, read_body, read_texts
from serve.wires.tei import STATUS, Options, error
from serve.wires.write import echoing, entries

__all__ = ["STATUS", "Body", "error", "parse"]


class Body(Options):
    """A rerank request."""

    query: Query
    texts: Texts
    top_n: Count = Field(default=None, description="Number of scores, best first; all if left out (LiteLLM sends it).")
    return_text: bool | None = None


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
