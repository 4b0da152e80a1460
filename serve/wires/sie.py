"""Superlinked Inference Engine: items in, scores with ranks from 0 out. The model's id stands in the path.

Its SDK speaks msgpack only; see `serve.codec` for the bytes.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

from pydantic import BaseModel

from rerank.errors import InputError
from rerank.types import RerankRequest
from serve.problems import Problem
from serve.wires import Answer, Asked
from serve.wires.read import read_body, read_texts
from serve.wires.write import decimal

__all__ = ["STATUS", "Body", "error", "parse"]

STATUS: Mapping[str, int] = {}

_CODES = {400: "INVALID_INPUT", 404: "MODEL_NOT_FOUND", 429: "RATE_LIMIT", 503: "MODEL_LOADING"}


class Body(BaseModel):
    """A score request; an item is `{"id"?, "text"}`."""

    query: dict[str, Any]
    items: list[dict[str, Any]]
    instruction: str | None = None


def parse(values: Mapping[str, Any]) -> Asked:
    """Read a request. Raises InputError naming the field."""
    body = read_body(Body, values)
    if not body.items:
        raise InputError("items must hold at least one item, got none")
    if body.instruction:
        raise InputError("instruction must be left out: none of the models here reads one")
    (query,) = read_texts([body.query], "query", numbered=False)
    return Asked(None, (RerankRequest(query, read_texts(body.items, "items")),), partial(_render, body), "items")


def _render(body: Body, answer: Answer) -> dict[str, Any]:
    result = answer.results[0]
    scores = [
        {
            "item_id": body.items[place.index].get("id") or f"item-{place.index}",
            "score": decimal(place.score),
            "rank": rank,
        }
        for rank, place in enumerate(result.ranked)
    ]
    named = {"query_id": body.query["id"]} if body.query.get("id") is not None else {}
    return {"model": answer.model, **named, "scores": scores, "usage": {"input_tokens": result.tokens}}


def error(problem: Problem) -> dict[str, Any]:
    """SIE's error body; its SDK retries 429 and 503 only with a code that it knows."""
    code = _CODES.get(problem.status, problem.code.upper())
    return {"detail": {"code": code, "message": problem.message}, "message": problem.message}
