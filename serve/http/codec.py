"""Decoding request bodies and encoding responses: JSON for every protocol, msgpack for SIE's."""

import json
from collections.abc import Mapping
from json.decoder import JSONArray, JSONObject  # type: ignore[attr-defined]  # not in typeshed
from json.scanner import py_make_scanner  # type: ignore[attr-defined]
from math import isfinite
from typing import Any, TypeVar

import msgpack
import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from serve.errors import NotJsonError, TooLargeError

MSGPACK = "application/msgpack"
SMALL_BYTES = 65_536
"""A body of this size is decoded within a few milliseconds."""

_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=np.ndarray.tolist)

_CONTAINER = 8  # values that a list or an object counts as, beside what it holds

Container = TypeVar("Container", list[Any], dict[Any, Any])


def decode(content: bytes, *, as_msgpack: bool, most_values: int) -> dict[str, Any]:
    """Return the object in a request body.

    Raises NotJsonError, and TooLargeError as soon as it holds more than `most_values` values. A list or an object
    counts as 8 of them: an empty one takes 2 bytes of a body and 64 of memory, and the garbage collector visits it.
    """
    try:
        body = _read_msgpack(content, most_values) if as_msgpack else _read_json(content, most_values)
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
        parts = _ENCODER.iterencode(content) if is_large else (_ENCODER.encode(content),)
        text = bytearray()  # a list of the parts would take many times the memory of millions of numbers
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


def _read_json(content: bytes, most_values: int) -> Any:
    if len(content) <= min(SMALL_BYTES, 2 * most_values):
        return json.loads(content, parse_constant=_refuse, parse_float=_finite)
    text = content.decode(json.detect_encoding(content), "surrogatepass")
    return _StepwiseDecoder(most_values).decode(text)


class _StepwiseDecoder(json.JSONDecoder):
    """Decodes lists and objects in Python, so that other threads can run between two values, and counts the values.

    The C decoder keeps the interpreter until a body is read to its end.
    """

    def __init__(self, most_values: int) -> None:
        super().__init__(parse_constant=_refuse, parse_float=_finite)
        self._counter = _Counter(most_values)
        self.parse_array = self._scan_array
        self.parse_object = self._scan_object
        self._scan = py_make_scanner(self)
        self.scan_once = self._scan_and_count

    def _scan_array(self, state: tuple[str, int], _: object) -> Any:
        self._counter.add(_CONTAINER)
        return JSONArray(state, self._scan_and_count)

    def _scan_object(self, state: tuple[str, int], strict: bool, _: object, *hooks: Any) -> Any:
        self._counter.add(_CONTAINER)
        return JSONObject(state, strict, self._scan_and_count, *hooks)

    def _scan_and_count(self, text: str, index: int) -> Any:
        self._counter.add(1)
        return self._scan(text, index)


def _read_msgpack(content: bytes, most_values: int) -> Any:
    counter = _Counter(most_values)
    limits = {"max_array_len": most_values, "max_map_len": most_values}
    return msgpack.unpackb(content, list_hook=counter.count, object_hook=counter.count, **limits)


class _Counter:
    """Counts the values of a body."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._count = 0

    def add(self, count: int) -> None:
        """Count values. Raises TooLargeError if there are too many."""
        self._count += count
        if self._count > self._most:
            raise TooLargeError(f"request body must hold at most {self._most} values, got more")

    def count(self, values: Container) -> Container:
        """Count a list or an object, and return it."""
        self.add(_CONTAINER + len(values))
        return values


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
