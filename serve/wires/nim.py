"""NVIDIA NIM: `query` and `passages` as objects in, `rankings` with logits out.

Source: https://docs.nvidia.com/nim/nemo-retriever/text-reranking/latest/reference.html
"""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, Field

from rerank.errors import InputError
from rerank.types import RerankRequest, TokenLimits
from serve.errors import body_for_all as error
from serve.wires import ParsedRequest, RankingResponse
from serve.wires.fields import Count, TextOrObject, TextsOrObjects
from serve.wires.read import check_count, read_body, read_texts, refuse_fields
from serve.wires.write import entries, usage

__all__ = ["STATUS", "Body", "error", "parse"]

STATUS: Mapping[str, int] = {}


class Body(BaseModel):
    """A ranking request; `query` and each passage are `{"text": …}` or plain strings."""

    model: str | None = None
    query: TextOrObject
    passages: TextsOrObjects
    truncate: Literal["NONE", "END", None] = Field(
        default=None, description="NONE: refuse passages that are too long for the model, instead of cutting them."
    )
    top_k: Count = Field(default=None, description="Number of rankings, best first; all if left out.")


def parse(values: Mapping[str, Any]) -> ParsedRequest:
    """Read a request. Raises InputError naming the field."""
    body = read_body(Body, values)
    if not body.passages:
        raise InputError("passages must hold at least one passage, got none")
    (query,) = read_texts([body.query], "query", numbered=False)
    refuse_fields(body.passages, "passages", ("image",))
    passages, top_k = read_texts(body.passages, "passages", may_be_blank=True), check_count(body.top_k, "top_k")
    request = RerankRequest(query, passages, top_k, token_limits=TokenLimits(strict=body.truncate == "NONE"))
    return ParsedRequest(body.model, request, _render, "passages")


def _render(response: RankingResponse) -> dict[str, Any]:
    return {
        "rankings": list(entries(response.result.ranked, "logit", raw=True)),
        "usage": usage(response.result),
    }
