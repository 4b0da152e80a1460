"""From an HTTP request to its response: read, rank, render, and report errors in the format of the body's protocol."""

import asyncio
import logging
import sys
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

from starlette.background import BackgroundTask
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from rerank.errors import InputError, RerankError, TooLongError
from serve.errors import INTERNAL, ErrorResponse, error_response
from serve.http.blanks import rank_texts, warnings_of
from serve.http.codec import SMALL_BYTES, decode, encode, sends_msgpack, wants_json
from serve.http.limits import Deadline, HeldBytes, Limits, check_limits, check_texts, read_bytes
from serve.keys import ApiKeys
from serve.models import Models
from serve.shadow import Shadow
from serve.telemetry.metrics import LocalSink, Sink, measure
from serve.telemetry.request_record import RequestRecord
from serve.telemetry.tracing import Tracing
from serve.wires import ParsedEncode, ParsedRequest, RankingResponse, VectorsResponse, Wire
from serve.wires.read import check_counts
from serve.wires.table import wire_of

_log = logging.getLogger("rerank.serve")

WARNING_HEADER = "X-Rerank-Warning"  # for every protocol; those with `meta` have it there, too
_TRACE_CONTEXT = ("traceparent", "tracestate")
_CLIENT_LEFT = 499  # the client closed the connection; nginx's status for that
_FEW_DOCUMENTS = 200  # the response to more takes more than a millisecond
_SWITCH_S = 0.0005  # how long a thread that reads a large body may keep the interpreter from the event loop
_THREADS = 2

Value = TypeVar("Value")


def _threads() -> ThreadPoolExecutor:
    sys.setswitchinterval(min(sys.getswitchinterval(), _SWITCH_S))
    return ThreadPoolExecutor(_THREADS, thread_name_prefix="body")


@dataclass(frozen=True, slots=True)
class Server:
    """What all paths share. Without `api_keys` every request is allowed; `sink` and `local` receive the metrics.

    `tracing` makes traces of requests; None: there are none.
    """

    models: Models
    limits: Limits = field(default_factory=Limits)
    api_keys: ApiKeys | None = None
    sink: Sink | None = None
    local: LocalSink = field(default_factory=LocalSink)
    tracing: Tracing | None = None
    shadows: Mapping[str, Shadow] = field(default_factory=dict)  # by the public name of the model that they follow
    held: HeldBytes = field(default_factory=HeldBytes)
    threads: ThreadPoolExecutor = field(default_factory=_threads)  # for what would keep the event loop too long

    def check_key(self, request: Request) -> str | None:
        """Return the name of the request's API key; None if no key is required. Raises UnauthorizedError."""
        return None if self.api_keys is None else self.api_keys.check(request.headers.get("authorization"))

    def close(self, record: RequestRecord, failure: ErrorResponse | None, status: int) -> None:
        """Log, measure and trace a finished request."""
        self.held.release(record)
        record.close(status, failure.code if failure else None)
        for sink in self.sinks:
            measure(record, sink)
        self.measure_keys()
        if self.tracing is not None:
            self.tracing.trace(record)

    def measure_keys(self) -> None:
        """Measure the state of the keys file."""
        for sink in self.sinks:
            sink.set("rerank_keys_file_errors", self.api_keys.file_errors if self.api_keys else 0)

    @property
    def sinks(self) -> tuple[Sink, ...]:
        """Return the receivers of metrics."""
        return (self.local,) if self.sink is None else (self.local, self.sink)


class Endpoint:
    """A path that accepts request bodies.

    With `by_body_field`, the body's fields decide which protocol it follows, and `wire` is the fallback. With
    `msgpack`, request bodies may be msgpack, and responses are msgpack unless the client accepts JSON.
    """

    def __init__(
        self, server: Server, path: str, wire: Wire, *, by_body_field: bool = False, msgpack: bool = False
    ) -> None:
        self._server = server
        self._path = path
        self._wire = wire
        self._by_body_field = by_body_field
        self._msgpack = msgpack

    async def answer(self, request: Request) -> Response:
        """Return the response to a request; failures become error bodies, never stack traces."""
        proxy_id = request.headers.get("x-request-id")  # Serve's proxy sets it, and adds it to the response itself
        record = RequestRecord(proxy_id or f"rerank-{uuid.uuid4().hex}", self._path)
        record.trace_context = {name: request.headers[name] for name in _TRACE_CONTEXT if name in request.headers}
        wire, failure = self._wire, None
        try:
            record.key_name = self._server.check_key(request)
            deadline = Deadline.of(request, self._server.limits)
            body = await self._read(request, record, deadline)
            wire = wire_of(body, otherwise=wire) if self._by_body_field else wire
            response = await self._rank(request, body, wire, record, deadline)
        except RerankError as error:
            failure = error_response(error)
        except asyncio.CancelledError:
            self._server.close(record, None, _CLIENT_LEFT)
            raise
        except ClientDisconnect:  # in the middle of its request body
            self._server.close(record, None, _CLIENT_LEFT)
            return Response(status_code=_CLIENT_LEFT)  # nobody reads it
        except Exception:
            _log.exception("request %s failed", record.request_id)
            failure = INTERNAL
        if failure is not None:
            status = wire.STATUS.get(failure.code, failure.status)
            response = self._encode(request, wire.error(failure), status, failure.headers)
        response.headers["Server-Timing"] = record.server_timing
        if not proxy_id:
            response.headers["X-Request-Id"] = record.request_id
        self._server.close(record, failure, response.status_code)
        return response

    def _encode(
        self,
        request: Request,
        content: Any,
        status: int,
        headers: Mapping[str, str] | None = None,
        *,
        is_large: bool = False,
    ) -> Response:
        as_msgpack = self._msgpack and not wants_json(request)
        return encode(content, status, headers, as_msgpack=as_msgpack, is_large=is_large)

    async def _read(self, request: Request, record: RequestRecord, deadline: Deadline) -> dict[str, Any]:
        limits = self._server.limits
        content = await read_bytes(request, limits, deadline, self._server.held, record)
        as_msgpack = self._msgpack and sends_msgpack(request)
        read = partial(decode, content, as_msgpack=as_msgpack, most_values=limits.body_values)
        return await self._call(read, is_large=len(content) > SMALL_BYTES)

    async def _call(self, function: Callable[[], Value], *, is_large: bool) -> Value:
        """Return what a function returns; large work runs in a thread, because it would keep the event loop."""
        return (
            await asyncio.get_running_loop().run_in_executor(self._server.threads, function) if is_large else function()
        )

    async def _rank(
        self, request: Request, body: dict[str, Any], wire: Wire, record: RequestRecord, deadline: Deadline
    ) -> Response:
        is_large = record.body_bytes > SMALL_BYTES
        read = partial(self._parse, wire, body, deadline.remaining_s)
        parsed = await self._call(read, is_large=is_large)
        if isinstance(parsed, ParsedEncode):
            return await self._encode_texts(request, parsed, record, deadline)
        name, scorer = self._server.models.find(request.path_params.get("model", parsed.model))
        record.model, record.documents = name, parsed.request.size
        if parsed.without_passages is not None and name not in self._server.models.with_passages:
            raise InputError(parsed.without_passages)
        try:
            async with deadline.enforced():
                result = await rank_texts(scorer, parsed.request)
        except TooLongError as error:
            raise TooLongError(error.index, error.most, parsed.field) from None
        record.computed(result)
        warnings = (*warnings_of(parsed), *result.warnings)
        ranked = RankingResponse(record.request_id, name, result, warnings)
        headers = {WARNING_HEADER: _as_header(warnings)} if warnings else None

        def render() -> Response:
            return self._encode(request, parsed.render(ranked), 200, headers, is_large=is_large)

        response = await self._call(render, is_large=is_large or record.documents > _FEW_DOCUMENTS)
        if shadow := self._server.shadows.get(name):
            offered = (record.request_id, parsed.request, result, self._server.sinks)
            response.background = BackgroundTask(shadow.offer, *offered)
        return response

    async def _encode_texts(
        self, request: Request, parsed: ParsedEncode, record: RequestRecord, deadline: Deadline
    ) -> Response:
        """Return the vectors of a body's texts, written in a thread: they may be millions of numbers."""
        name, scorer = self._server.models.find(request.path_params["model"])
        record.model, record.documents = name, parsed.request.size
        async with deadline.enforced():
            result = await scorer.encode(parsed.request)
        record.computed(result)
        vectors = VectorsResponse(name, result)

        def render() -> Response:
            return self._encode(request, parsed.render(vectors), 200, is_large=True)

        return await self._call(render, is_large=True)

    def _parse(self, wire: Wire, body: dict[str, Any], timeout_s: float) -> ParsedRequest | ParsedEncode:
        """Return what a body asks for, with its deadline, and empty the body: what is not read need not stay."""
        limits = self._server.limits
        check_counts(wire.Body, body, most=limits.documents)
        parsed = wire.parse(body)
        body.clear()
        if isinstance(parsed, ParsedEncode):
            return replace(parsed, request=check_texts(parsed, limits, timeout_s))
        return replace(parsed, request=check_limits(parsed, limits, timeout_s))


def _as_header(warnings: Sequence[str]) -> str:
    """Return warnings as the value of a header, which holds ASCII only; the names of models may hold more."""
    return "; ".join(warnings).encode("ascii", "backslashreplace").decode()
