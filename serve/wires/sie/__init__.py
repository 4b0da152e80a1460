"""Superlinked Inference Engine: items in, scores or vectors out. The model's id is part of the path.

Its SDK speaks msgpack only; `serve.http.codec` reads and writes that.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from rerank.errors import InputError
from serve.errors import ErrorResponse
from serve.wires.read import read_texts, refuse_fields, shown

STATUS: Mapping[str, int] = {}

_NOT_TEXT = ("images", "audio", "video", "document", "multivector")

_CODES = {400: "INVALID_INPUT", 404: "MODEL_NOT_FOUND", 429: "RATE_LIMIT", 503: "MODEL_LOADING"}


def read_items(
    items: Sequence[Mapping[str, Any]], *, may_be_blank: bool = False
) -> tuple[tuple[str, ...], list[str | None]]:
    """Return texts and ids of the items of a body, None for those without an id. Raises InputError."""
    if not items:
        raise InputError("items must hold at least one item, got none")
    refuse_fields(items, "items", _NOT_TEXT)
    texts = read_texts(items, "items", may_be_blank=may_be_blank)
    return texts, [_read_id(item, f"items[{index}]") for index, item in enumerate(items)]


def read_query(query: Mapping[str, Any]) -> tuple[str, str | None]:
    """Return text and id of the query of a body. Raises InputError."""
    refuse_fields([query], "query", _NOT_TEXT, numbered=False)
    (text,) = read_texts([query], "query", numbered=False)
    return text, _read_id(query, "query")


def _read_id(item: Mapping[str, Any], name: str) -> str | None:
    value = item.get("id")
    if value is not None and not isinstance(value, str):
        raise InputError(f"{name}.id must be a string, got {shown(value)}")
    return value


def error(failure: ErrorResponse) -> dict[str, Any]:
    """Return SIE's error body; its SDK retries 429 and 503 only for codes that it knows."""
    code = _CODES.get(failure.status, failure.code.upper())
    return {"detail": {"code": code, "message": failure.message}, "message": failure.message}
