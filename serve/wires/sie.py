"""Superlinked Inference Engine: items in, scores with ranks from 0 out. The model's id is part of the path.

Its SDK speaks msgpack only; `serve.http.codec` reads and writes that.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from pydantic import BaseModel

from rerank.errors import InputError
from rerank.types import RerankRequest
from serve.errors import ErrorResponse
from serve.wires import ParsedRequest, RankingResponse
from serve.wires.fields import Item, Items, Unread
from serve.wires.read import read_body, read_texts, refuse_fields, shown
from serve.wires.write import decimal

__all__ = ["STATUS", "Body", "error", "parse"]

STATUS: Mapping[str, int] = {}

_NOT_TEXT = ("images", "audio", "video", "document", "multivector")

_CODES = {400: "INVALID_INPUT", 404: "MODEL_NOT_FOUND", 429: "RATE_LIMIT", 503: "MODEL_LOADING"}


class Body(BaseModel):
    """A score request; an item is `{"id"?, "text"}`."""

    query: Item
    items: Items
    instruction: Unread = None
    options: Unread = None


def parse(values: Mapping[str, Any]) -> ParsedRequest:
    """Read a request. Raises InputError naming the field."""
    body = read_body(Body, values)
    if not body.items:
        raise InputError("items must hold at least one item, got none")
    refuse_fields([body.query], "query", _NOT_TEXT, numbered=False)
    refuse_fields(body.items, "items", _NOT_TEXT)
    (query,) = read_texts([body.query], "query", numbered=False)
    request = RerankRequest(query, read_texts(body.items, "items"))
    query_id = _read_id(body.query, "query")
    ids = [_read_id(item, f"items[{index}]") or f"item-{index}" for index, item in enumerate(body.items)]
    return ParsedRequest(None, request, partial(_render, query_id, ids), "items")


def _read_id(item: Mapping[str, Any], name: str) -> str | None:
    value = item.get("id")
    if value is not None and not isinstance(value, str):
        raise InputError(f"{name}.id must be a string, got {shown(value)}")
    return value


def _render(query_id: str | None, ids: Sequence[str], response: RankingResponse) -> dict[str, Any]:
    result = response.result
    scores = [
        {"item_id": ids[document.index], "score": decimal(document.score), "rank": rank}
        for rank, document in enumerate(result.ranked)
    ]
    named = {} if query_id is None else {"query_id": query_id}
    return {"model": response.model, **named, "scores": scores, "usage": {"input_tokens": result.tokens}}


def error(failure: ErrorResponse) -> dict[str, Any]:
    """Return SIE's error body; its SDK retries 429 and 503 only for codes that it knows."""
    code = _CODES.get(failure.status, failure.code.upper())
    return {"detail": {"code": code, "message": failure.message}, "message": failure.message}
