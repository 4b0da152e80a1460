"""Cohere v1, which Jina, vLLM and Infinity share: `query`, `documents`, `top_n` in, `results` out.

Source: https://docs.cohere.com/v1/reference/rerank
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
from serve.wires.write import decimal, usage

__all__ = ["Body", "error", "parse"]

_DOCUMENTS_PER_SEARCH_UNIT = 100


class Body(BaseModel):
    """A rerank request."""

    model: str | None = Field(default=None, description="A name from GET /v1/models; the first one if left out.")
    query: str
    documents: list[Any] = Field(description="Strings, or objects with `text` (or with the fields in `rank_fields`).")
    top_n: int | None = Field(default=None, description="How many results come back, best first; all if left out.")
    return_documents: bool | None = Field(default=None, description="Echo each document's text beside its score.")
    rank_fields: list[str] | None = Field(default=None, description="Fields of document objects that are scored.")


def parse(values: Mapping[str, Any]) -> Asked:
    """Read a request. Raises InputError naming the field."""
    body = read_body(Body, values)
    if body.rank_fields == []:
        raise InputError("rank_fields must name at least one field, got a list of 0")
    texts = read_texts(body.documents, "documents", keys=body.rank_fields or ("text",))
    request = RerankRequest(body.query, texts, check_top(body.top_n, "top_n"))
    return Asked(body.model, request, partial(render, texts if body.return_documents else None))


def render(echoed: tuple[str, ...] | None, answer: Answer) -> dict[str, Any]:
    """The answer; `echoed` holds the texts to give back, in request order."""
    results: list[dict[str, Any]] = []
    for place in answer.result.ranked:
        entry: dict[str, Any] = {"index": place.index, "relevance_score": decimal(place.score)}
        if echoed is not None:
            entry["document"] = {"text": echoed[place.index]}
        results.append(entry)
    return {"id": answer.id, "model": answer.model, "results": results, "usage": usage(answer.result)}
