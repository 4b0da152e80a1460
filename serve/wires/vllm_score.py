"""vLLM's score API: pairs in, scores out in input order. It pairs one text with one, one with many, or row by row.

Source: vllm/entrypoints, the score protocol.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

from rerank.errors import InputError
from rerank.types import RerankRequest
from serve.errors import body_for_all as error
from serve.wires import ParsedRequest, RankingResponse
from serve.wires.fields import OneOrMore, OneOrMoreDocuments
from serve.wires.options import VllmOptions
from serve.wires.read import read_body, read_texts
from serve.wires.write import in_input_order, usage

__all__ = ["STATUS", "Body", "error", "parse"]

STATUS: Mapping[str, int] = {}

_FIELDS = (("text_1", "text_2"), ("queries", "documents"), ("data_1", "data_2"))


class Body(VllmOptions):
    """A score request with `text_1` and `text_2`, `queries` and `documents`, or `data_1` and `data_2`.

    Each of them is a text or a list of texts.
    """

    model: str | None = None
    text_1: OneOrMore = None
    text_2: OneOrMoreDocuments = None
    queries: OneOrMore = None
    documents: OneOrMoreDocuments = None
    data_1: OneOrMore = None
    data_2: OneOrMoreDocuments = None


def parse(values: Mapping[str, Any]) -> ParsedRequest:
    """Read a request. Raises InputError naming the field."""
    body = read_body(Body, values)
    for first, second in _FIELDS:
        if getattr(body, first) is not None:
            return ParsedRequest(body.model, _request(body, first, second), partial(_render, body), second, first)
    accepted = " or ".join(f"{first} with {second}" for first, second in _FIELDS)
    raise InputError(f"the texts to score are missing: send {accepted}")


def _request(body: Body, first: str, second: str) -> RerankRequest:
    left = _texts(getattr(body, first), first)
    right = _texts(getattr(body, second), second, may_be_blank=True)
    if len(left) not in (1, len(right)):
        raise InputError(f"{first} must be one text or as many as {second} ({len(right)}), got {len(left)}")
    return RerankRequest(
        left[0] if len(left) == 1 else left,
        right,
        token_limits=body.token_limits,
        instruction=body.chosen_instruction,
    )


def _texts(value: Any, field: str, *, may_be_blank: bool = False) -> tuple[str, ...]:
    if value == [] or value is None:
        raise InputError(f"{field} must hold at least one text, got none")
    is_list = isinstance(value, list)
    return read_texts(value if is_list else [value], field, numbered=is_list, may_be_blank=may_be_blank)


def _render(body: Body, response: RankingResponse) -> dict[str, Any]:
    scores = in_input_order(response.result.ranked, raw=body.wants_logits)
    return {
        "id": body.request_id or response.id,
        "object": "list",
        "model": response.model,
        "data": [{"index": row, "object": "score", "score": score} for row, score in enumerate(scores)],
        "usage": usage(response.result),
    }
