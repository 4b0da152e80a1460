"""Request limits: maximum sizes (checked before any work) and the time limit for a response."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from math import ceil

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request

from rerank.errors import DeadlineError, InputError, OverloadedError, RerankError
from rerank.types import EncodeRequest, RerankRequest
from serve.errors import LimitError, SlowUploadError, TooLargeError
from serve.http.compression import unpacked
from serve.telemetry.request_record import RequestRecord
from serve.wires import ParsedEncode, ParsedRequest

_DIGITS = 18  # of a Content-Length; Python refuses to read a number of thousands of digits


class Limits(BaseModel):
    """Maximum sizes of a request and the longest time for a response; larger requests are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    body_bytes: int = Field(default=10 * 2**20, ge=1)
    body_values: int = Field(default=256_000, ge=1)  # numbers and texts; a list or an object counts as 8
    waiting_bytes: int = Field(default=128 * 2**20, ge=1)  # bodies that an ingress replica holds at a time
    documents: int = Field(default=1_000, ge=1)
    text_characters: int = Field(default=100_000, ge=1)
    timeout_s: float = Field(default=60, gt=0)  # X-Request-Timeout asks for less, never for more


@dataclass(frozen=True, slots=True)
class Deadline:
    """The time limit of a request: `timeout_s` seconds from the arrival of its headers, the upload included."""

    timeout_s: float
    at: float  # on the event loop's clock

    @classmethod
    def of(cls, request: Request, limits: Limits) -> "Deadline":
        """Return the deadline of a request that arrives now. Raises InputError for an invalid X-Request-Timeout."""
        timeout_s = timeout_of(request, limits)
        return cls(timeout_s, asyncio.get_running_loop().time() + timeout_s)

    @property
    def remaining_s(self) -> float:
        """Return the seconds that remain, rounded up to tenths of a second.

        So requests whose body arrives at once all have the same limit, and one refusal holds for all of them.
        """
        tenths = ceil(10 * (self.at - asyncio.get_running_loop().time()))
        return min(self.timeout_s, max(1, tenths) / 10)

    @asynccontextmanager
    async def enforced(
        self, problem: str = "the answer was not ready", kind: type[RerankError] = DeadlineError
    ) -> AsyncIterator[None]:
        """Cancel the block at the deadline, and raise an error of this kind with this problem and the time limit."""
        try:
            async with asyncio.timeout_at(self.at) as limit:
                yield
        except TimeoutError:
            if not limit.expired():
                raise
            raise kind(f"{problem} within {self.timeout_s:g} seconds") from None


class HeldBytes:
    """The bytes of the bodies that wait for their responses."""

    def __init__(self) -> None:
        self._total = 0

    def add(self, record: RequestRecord, count: int, limits: Limits) -> None:
        """Count more bytes of a request. Raises OverloadedError if there are too many, beside those of this request."""
        others = self._total - record.body_bytes
        if others and self._total + count > limits.waiting_bytes:
            raise OverloadedError(f"bodies of {self._total} bytes wait for their responses, come back later")
        self._total += count
        record.body_bytes += count

    def release(self, record: RequestRecord) -> None:
        """Forget the bytes of a request."""
        self._total -= record.body_bytes
        record.body_bytes = 0


async def read_bytes(
    request: Request, limits: Limits, deadline: Deadline, held: HeldBytes, record: RequestRecord
) -> bytes:
    """Return the body of a request.

    A compressed body is unpacked while it arrives, and the limits hold for what it unpacks to.

    Raises TooLargeError as soon as the body is too large, OverloadedError if the server holds too many bytes of other
    bodies, SlowUploadError if the body is not complete at the deadline, and what `unpacked` raises.
    """
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and (len(declared) > _DIGITS or int(declared) > limits.body_bytes):
        raise TooLargeError(f"request body must hold at most {limits.body_bytes} bytes, got {declared}")
    body = bytearray()
    async with deadline.enforced("the request body did not arrive", SlowUploadError):
        async for chunk in unpacked(request):
            held.add(record, len(chunk), limits)
            body += chunk
            if len(body) > limits.body_bytes:
                raise TooLargeError(f"request body must hold at most {limits.body_bytes} bytes, got more")
    return bytes(body)


def check_limits(parsed: ParsedRequest, limits: Limits, timeout_s: float) -> RerankRequest:
    """Return the request of a body, with its deadline. Raises LimitError naming the field."""
    request = parsed.request
    if len(request.documents) > limits.documents:
        raise LimitError(f"{parsed.field} must hold at most {limits.documents} entries, got {len(request.documents)}")
    for index, query in enumerate(request.queries):
        numbered = len(request.queries) > 1
        _check_length(f"{parsed.query_field}[{index}]" if numbered else parsed.query_field, query, limits)
    for index, text in enumerate(request.documents):
        _check_length(f"{parsed.field}[{index}]", text, limits)
    _check_length("instruction", request.instruction or "", limits)
    return replace(request, timeout_s=timeout_s)


def check_texts(parsed: ParsedEncode, limits: Limits, timeout_s: float) -> EncodeRequest:
    """Return the request of a body that asks for vectors, with its deadline. Raises LimitError naming the field."""
    request = parsed.request
    if request.size > limits.documents:
        raise LimitError(f"{parsed.field} must hold at most {limits.documents} entries, got {request.size}")
    for index, text in enumerate(request.texts):
        _check_length(f"{parsed.field}[{index}]", text, limits)
    _check_length("instruction", request.instruction or "", limits)
    return replace(request, timeout_s=timeout_s)


def timeout_of(request: Request, limits: Limits) -> float:
    """Return the seconds until the response must be ready: X-Request-Timeout, at most the server's limit.

    Raises InputError for a header that is not a number above 0.
    """
    header = request.headers.get("x-request-timeout")
    if header is None:
        return limits.timeout_s
    try:
        seconds = float(header)
    except ValueError:
        seconds = -1.0
    if not seconds > 0:
        raise InputError(f"X-Request-Timeout must be a number of seconds above 0, got {header!r}")
    return min(seconds, limits.timeout_s)


def _check_length(name: str, text: str, limits: Limits) -> None:
    if len(text) > limits.text_characters:
        raise LimitError(f"{name} must hold at most {limits.text_characters} characters, got {len(text)}")
