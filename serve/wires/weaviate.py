"""Weaviate's reranker-transformers container: `query` and `documents` in, scores in the order of the documents out.

Its body fields are Cohere's, so it has a base path of its own: `/weaviate`.
Source: https://github.com/weaviate/reranker-transformers, and modules/reranker-transformers/clients of Weaviate.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from pydantic import BaseModel, Field

from rerank.errors import InputError
from rerank.types import RerankRequest
from serve.errors import ErrorResponse
from serve.wires import ParsedRequest, RankingResponse
from serve.wires.fields import Query
from serve.wires.read import read_body, read_texts
from serve.wires.write import in_input_order

__all__ = ["STATUS", "Body", "error", "parse"]

STATUS: Mapping[str, int] = {}


class Body(BaseModel):
    """A rerank request with `documents`, or with one document in `property`."""

    query: Query
    documents: list[str] | None = Field(default=None, description="Scored in their order.")
    property: str | None = Field(default=None, description="One document; read only without `documents`.")


def parse(values: Mapping[str, Any]) -> ParsedRequest:
    """Read a request. Raises InputError naming the field."""
    body = read_body(Body, values)
    if not body.documents and body.property is None:
        raise InputError("documents must hold at least one document, got none")
    field, documents = ("documents", body.documents) if body.documents else ("property", [body.property])
    texts = read_texts(documents, field, text_fields=(), may_be_blank=True)
    return ParsedRequest(None, RerankRequest(body.query, texts), partial(_render, body, texts), field)


def _render(body: Body, texts: Sequence[str], response: RankingResponse) -> dict[str, Any]:
    scores = in_input_order(response.result.ranked)
    if not body.documents:
        return {"query": body.query, "scores": None, "property": body.property, "score": scores[0]}
    scored = [{"document": text, "score": score} for text, score in zip(texts, scores, strict=True)]
    return {"query": body.query, "scores": scored, "property": None, "score": None}


def error(failure: ErrorResponse) -> dict[str, Any]:
    """Return an error body whose `error` is a string: Weaviate cannot read another."""
    return {"error": failure.message, "message": failure.message, "detail": failure.message}
