"""Hugging Face text-embeddings-inference: `texts` in, a bare array out.

Source: https://huggingface.github.io/text-embeddings-inference (rerank), router/src/http/server.rs
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

from pydantic import BaseModel

from rerank.types import RerankRequest
from serve.problems import EmptyError, Problem
from serve.wires import Answer, Asked
from serve.wires.read import read_body, read_texts
from serve.wires.write import echoing, entries

__all__ = ["STATUS", "Body", "error", "parse"]

STATUS: Mapping[str, int] = {"input": 422, "not_json": 422, "empty": 400, "limit": 413, "model": 424}

_TYPES = {429: "Overloaded", 503: "Unhealthy", 424: "Backend", 500: "Backend", 504: "Backend"}


class Body(BaseModel):
    """A rerank request; `truncate` is always on, whatever it says."""

    model: str | None = None
    query: str
    texts: list[Any]
    raw_scores: bool | None = None
    return_text: bool | None = None


def parse(values: Mapping[str, Any]) -> Asked:
    """Read a request. Raises InputError naming the field, EmptyError without texts."""
    body = read_body(Body, values)
    if not body.texts:
        raise EmptyError("texts must hold at least one text, got none")
    texts = read_texts(body.texts, "texts", keys=())
    return Asked(body.model, (RerankRequest(body.query, texts),), partial(_render, body), "texts")


def _render(body: Body, answer: Answer) -> list[dict[str, Any]]:
    scored = entries(answer.results[0].ranked, "score", raw=bool(body.raw_scores))
    return list(echoing(scored, "text", body.texts if body.return_text else None))


def error(problem: Problem) -> dict[str, Any]:
    """TEI's error body, with the keys that other clients read beside it."""
    kind = "Empty" if problem.code == "empty" else _TYPES.get(problem.status, "Validation")
    return {"error": problem.message, "error_type": kind, "message": problem.message, "detail": problem.message}
