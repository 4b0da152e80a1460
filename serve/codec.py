"""Bytes to objects and back: JSON everywhere, msgpack for the protocol that speaks it."""

import json
from typing import Any

import msgpack
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from serve.problems import NotJsonError

MSGPACK = "application/msgpack"


def decode(content: bytes, content_type: str) -> dict[str, Any]:
    """The body's object. Raises NotJsonError."""
    kind = "msgpack map" if content_type.startswith(MSGPACK) else "JSON object"
    try:
        body = msgpack.unpackb(content) if kind == "msgpack map" else json.loads(content, parse_constant=_refuse)
    except (ValueError, RecursionError, msgpack.exceptions.UnpackException) as problem:
        raise NotJsonError(f"body must be a {kind}, got bytes that are none: {problem}") from None
    if not isinstance(body, dict):
        raise NotJsonError(f"body must be a {kind}, got {_KINDS.get(type(body), 'another value')}")
    return body


def encode(content: Any, status: int, headers: dict[str, str], *, as_msgpack: bool) -> Response:
    """A response with this object as its body."""
    if as_msgpack:
        return Response(msgpack.packb(content, unicode_errors="replace"), status, headers, MSGPACK)
    try:
        return JSONResponse(content, status, headers)
    except UnicodeEncodeError:  # half a surrogate pair, echoed: JSON can spell it, UTF-8 cannot
        return Response(json.dumps(content), status, headers, "application/json")


def wants_json(request: Request) -> bool:
    """Whether a client of a msgpack protocol asked for JSON."""
    return "application/json" in request.headers.get("accept", "")


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
