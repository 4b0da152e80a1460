"""Hugging Face text-embeddings-inference: its statuses and error bodies, the same for both of its routes.

Source: https://huggingface.github.io/text-embeddings-inference, router/src/http/server.rs
"""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, Field

from serve.errors import ErrorResponse
from serve.wires.fields import Refused

STATUS: Mapping[str, int] = {"input": 422, "not_json": 422, "empty": 400, "limit": 413, "too_long": 413, "model": 424}

_TYPES = {429: "Overloaded", 503: "Unhealthy", 424: "Backend", 500: "Backend", 504: "Backend"}


class Options(BaseModel):
    """The options of both routes."""

    model: str | None = None
    raw_scores: bool | None = Field(default=None, description="Return logits instead of relevance scores.")
    truncate: bool | None = Field(
        default=None, description="false: refuse texts that are too long for the model, instead of cutting them."
    )
    truncation_direction: Annotated[Any, Refused("texts are cut at their end", neutral=("right", "Right"))] = None


def error(failure: ErrorResponse) -> dict[str, Any]:
    """Return TEI's error body, with the fields that other clients read added."""
    kind = "Empty" if failure.code == "empty" else _TYPES.get(failure.status, "Validation")
    return {"error": failure.message, "error_type": kind, "message": failure.message, "detail": failure.message}
