"""Decoding request bodies and encoding responses: JSON for every protocol, msgpack for SIE's."""

import json
from collections.abc import Mapping
from math import isfinite
from typing import Any

import msgpack
import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from serve.errors import NotJsonError

MSGPACK = "application/msgpack"

_JSON = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=np.ndarray.tolist)


def decode(content: bytes, *, as_msgpack: bool) -> dict[str, Any]:
    """Return the object in a request body. Raises NotJsonError."""
    try:
        body = msgpack.unpackb(content) if as_msgpack else _read_json(content)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise NotJsonError(f"request body is not valid JSON: {error.msg} at {place}") from None
    except (ValueError, RecursionError, msgpack.exceptions.UnpackException) as error:
        reason = str(error) or "the bytes do not follow the format"
        raise NotJsonError(f"request body is not valid {'msgpack' if as_msgpack else 'JSON'}: {reason}") from None
    if not isinstance(body, dict):
        expected = "msgpack map" if as_msgpack else "JSON object"
        raise NotJsonError(f"request body must be a {expected}, got {_TYPE_NAMES.get(type(body), 'another value')}")
    return body


def encode(
    content: Any, status: int, headers: Mapping[str, str] | None, *, as_msgpack: bool, is_large: bool = False
) -> Response:
    """Return a response whose body is this object; one that may be large is encoded in many small steps.

    Arrays become lists in JSON, and msgpack-numpy's maps in msgpack.
    """
    if as_msgpack:
        body = msgpack.packb(content, unicode_errors="replace", default=_pack_array)
        return Response(body, status, headers, MSGPACK)
    try:
        # The one-shot encoder keeps the interpreter from other threads until the body is complete.
        parts = _JSON.iterencode(content) if is_large else (_JSON.encode(content),)
        text = bytearray()
        for part in parts:
            text += part.encode()
        return Response(bytes(text), status, headers, "application/json")
    except UnicodeEncodeError:  # an echoed half of a surrogate pair: JSON can escape it, UTF-8 cannot encode it
        return Response(json.dumps(content, default=np.ndarray.tolist), status, headers, "application/json")


def _pack_array(array: np.ndarray[Any, Any]) -> dict[bytes, Any]:
    """Return an array as msgpack-numpy packs it: https://github.com/lebedov/msgpack-numpy."""
    return {b"nd": True, b"type": array.dtype.str, b"kind": b"", b"shape": array.shape, b"data": array.tobytes()}


def sends_msgpack(request: Request) -> bool:
    """Return True if the request body is msgpack."""
    return request.headers.get("content-type", "").startswith(MSGPACK)


def wants_json(request: Request) -> bool:
    """Return True if the client of a msgpack protocol accepts JSON."""
    return "application/json" in request.headers.get("accept", "")


def _read_json(content: bytes) -> Any:
    return json.loads(content, parse_constant=_refuse, parse_float=_finite)


def _finite(digits: str) -> float:
    """Refuse numbers such as 1e999: Python reads infinity, which a JSON response cannot contain."""
    if not isfinite(number := float(digits)):
        raise ValueError(f"the number {digits[:20]} is too large")
    return number


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not a JSON value")


_TYPE_NAMES = {
    list: "a list",
    str: "a string",
    int: "a number",
    float: "a number",
    bool: "true or false",
    type(None): "null",
}
