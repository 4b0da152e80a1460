"""NVIDIA NIM: `query` and `passages` as objects in, `rankings` with logits out.

Source: https://docs.nvidia.com/nim/nemo-retriever/text-reranking/latest/reference.html
"""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from rerank.errors import InputError
from rerank.types import RerankRequest
from serve.problems import body_for_all as error
from serve.wires import Answer, Asked
from serve.wires.read import read_body, read_texts
from serve.wires.write import entries, usage

__all__ = ["STATUS", "Body", "error", "parse"]

STATUS: Mapping[str, int] = {}


class Body(BaseModel):
    """A ranking request; `query` and each passage are `{"text": …}`, plain strings pass too."""

    model: str | None = None
    query: Any
    passages: list[Any]


def parse(values: Mapping[str, Any]) -> Asked:
    """Read a request. Raises InputError naming the field."""
    body = read_body(Body, values)
    if not body.passages:
        raise InputError("passages must hold at least one passage, got none")
    (query,) = read_texts([body.query], "query", numbered=False)
    request = RerankRequest(query, read_texts(body.passages, "passages"))
    return Asked(body.model, (request,), _render, "passages")


def _render(answer: Answer) -> dict[str, Any]:
    return {
        "rankings": list(entries(answer.results[0].ranked, "logit", raw=True)),
        "usage": usage(answer.results),
    }
