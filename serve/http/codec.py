"""Bytes to objects and back: JSON everywhere, msgpack for the protocol that speaks it."""

import json
from collections.abc import Mapping
from math import isfinite
from typing import Any

import msgpack
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from serve.errors import NotJsonError

MSGPACK = "application/msgpack"


def decode(content: bytes, *, as_msgpack: bool) -> dict[str, Any]:
    """The body's object. Raises NotJsonError."""
    kind = "msgpack map" if as_msgpack else "JSON object"
    try:
        body = msgpack.unpackb(content) if as_msgpack else _read_json(content)
    except (ValueError, RecursionError, msgpack.exceptions.UnpackException) as problem:
        raise NotJsonError(f"body must be a {kind}, got bytes that are none: {problem}") from None
    if not isinstance(body, dict):
        raise NotJsonError(f"body must be a {kind}, got {_KINDS.get(type(body), 'another value')}")
    return body


def encode(content: Any, status: int, headers: Mapping[str, str] | None, *, as_msgpack: bool) -> Response:
    """A response with this object as its body."""
    if as_msgpack:
        return Response(msgpack.packb(content, unicode_errors="replace"), status, headers, MSGPACK)
    try:
        return JSONResponse(content, status, headers)
    except UnicodeEncodeError:  # half a surrogate pair, echoed: JSON can spell it, UTF-8 cannot
        return Response(json.dumps(content), status, headers, "application/json")


def sends_msgpack(request: Request) -> bool:
    """Whether a client of a msgpack protocol uses it."""
    return request.headers.get("content-type", "").startswith(MSGPACK)


def wants_json(request: Request) -> bool:
    """Whether a client of a msgpack protocol asked for JSON."""
    return "application/json" in request.headers.get("accept", "")


def _read_json(content: bytes) -> Any:
    return json.loads(content, parse_constant=_refuse, parse_float=_finite)


def _finite(digits: str) -> float:
    """Refuse 1e999, which Python reads as infinity and JSON could not spell in an echo."""
    if not isfinite(number := float(digits)):
        raise ValueError(f"{digits[:20]} is too large a number")
    return number


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


_KINDS = {
    list: "a list",
    str: "a string",
    int: "a number",
    float: "a number",
    bool: "true or false",
    type(None): "null",
}
