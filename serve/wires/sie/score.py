"""SIE's scores of items for a query, with ranks from 0."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from pydantic import BaseModel

from rerank.types import RerankRequest
from serve.wires import ParsedRequest, RankingResponse
from serve.wires.fields import Instruction, Item, ScoredItems, Unread
from serve.wires.read import read_body, read_instruction
from serve.wires.sie import STATUS, error, read_items, read_query
from serve.wires.write import decimal

__all__ = ["STATUS", "Body", "error", "parse"]


class Body(BaseModel):
    """A score request; an item is `{"id"?, "text"}`."""

    query: Item
    items: ScoredItems
    instruction: Instruction = None
    options: Unread = None


def parse(values: Mapping[str, Any]) -> ParsedRequest:
    """Read a request. Raises InputError naming the field."""
    body = read_body(Body, values)
    query, query_id = read_query(body.query)
    texts, ids = read_items(body.items, may_be_blank=True)
    names = [name or f"item-{index}" for index, name in enumerate(ids)]
    request = RerankRequest(query, texts, instruction=read_instruction(instruction=body.instruction))
    return ParsedRequest(None, request, partial(_render, query_id, names), "items")


def _render(query_id: str | None, ids: Sequence[str], response: RankingResponse) -> dict[str, Any]:
    result = response.result
    scores = [
        {"item_id": ids[document.index], "score": decimal(document.score), "rank": rank}
        for rank, document in enumerate(result.ranked)
    ]
    named = {} if query_id is None else {"query_id": query_id}
    return {"model": response.model, **named, "scores": scores, "usage": {"input_tokens": result.tokens}}
