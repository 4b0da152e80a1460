"""Mixedbread: `input` and `top_k` in, `data` with `score` out.

Source: https://www.mixedbread.com/api-reference (reranking).
"""

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any

from pydantic import BaseModel

from rerank.errors import InputError
from rerank.types import RerankRequest
from serve.errors import body_for_all as error
from serve.wires import ParsedRequest, RankingResponse
from serve.wires.fields import Count, Documents, Instruction, Query, Refused
from serve.wires.read import check_count, check_echo, read_body, read_instruction, read_texts, text_fields_of
from serve.wires.write import echoing, entries, usage

__all__ = ["STATUS", "Body", "error", "parse"]

STATUS: Mapping[str, int] = {}


class Body(BaseModel):
    """A rerank request; its documents are in `input`."""

    model: str | None = None
    query: Query
    input: Documents
    rank_fields: list[str] | None = None
    top_k: Count = None
    return_input: bool | None = None
    instruction: Instruction = None
    rewrite_query: Annotated[Any, Refused("queries are scored as they are sent")] = None


def parse(values: Mapping[str, Any]) -> ParsedRequest:
    """Read a request. Raises InputError naming the field."""
    body = read_body(Body, values)
    if not body.input:
        raise InputError("input must hold at least one document, got none")
    texts = read_texts(body.input, "input", text_fields=text_fields_of(body.rank_fields), may_be_blank=True)
    if body.return_input:
        check_echo(body.input, "input")
    instruction = read_instruction(instruction=body.instruction)
    request = RerankRequest(body.query, texts, check_count(body.top_k, "top_k"), instruction=instruction)
    return ParsedRequest(body.model, request, partial(_render, body), "input")


def _render(body: Body, response: RankingResponse) -> dict[str, Any]:
    ranked = response.result.ranked
    scored = echoing(entries(ranked, "score"), "input", body.input if body.return_input else None)
    return {
        "object": "list",
        "data": [{**entry, "object": "rank_result"} for entry in scored],
        "model": response.model,
        "usage": usage(response.result),
        "top_k": len(ranked),
        "return_input": bool(body.return_input),
    }
