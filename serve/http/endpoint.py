"""From an HTTP request to its answer: read, ask, render, and word every error in the body's own dialect."""

import asyncio
import logging
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from rerank.errors import DeadlineError, RerankError, TooLongError
from rerank.types import RerankRequest, RerankResult
from serve.errors import INTERNAL, ErrorResponse, error_response
from serve.http.codec import decode, encode, sends_msgpack, wants_json
from serve.http.limits import Limits, check_limits, read_bytes, timeout_of
from serve.keys import Keys
from serve.models import Models, Scorer
from serve.telemetry.metrics import LocalSink, Sink, measure
from serve.telemetry.request_record import RequestRecord
from serve.wires import Answer, Wire
from serve.wires.table import wire_of

_log = logging.getLogger("rerank.serve")

_RANKINGS_AT_ONCE = 64  # of one body: more would fill the queue of a model that is free, and be refused


@dataclass(frozen=True, slots=True)
class Server:
    """What all paths share. Without `keys` anybody may ask; `sink` is told the numbers beside GET /metrics."""

    models: Models
    limits: Limits = field(default_factory=Limits)
    keys: Keys | None = None
    sink: Sink | None = None
    local: LocalSink = field(default_factory=LocalSink)

    def check_key(self, request: Request) -> str | None:
        """The name of the request's key; None where no key is needed. Raises UnauthorizedError."""
        return None if self.keys is None else self.keys.check(request.headers.get("authorization"))

    def close(self, record: RequestRecord, problem: ErrorResponse | None, status: int) -> None:
        """Log and measure a finished request."""
        record.close(status, problem.code if problem else None)
        for sink in (self.local, self.sink):
            if sink is not None:
                measure(record, sink)


class Endpoint:
    """A path that takes bodies. Where `by_body_field`, the body's fields name the dialect and `wire` is the fallback;
    where `msgpack`, bodies may be msgpack, and answers are unless JSON is asked for.
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
        """Answer a request; whatever goes wrong is an error body, never a stack trace."""
        given = request.headers.get("x-request-id")  # by a proxy, as Serve's is, which then answers with it too
        record = RequestRecord(given or f"rerank-{uuid.uuid4().hex}", self._path)
        wire, problem = self._wire, None
        try:
            body = await self._read(request, record)
            wire = wire_of(body, otherwise=wire) if self._by_body_field else wire
            response = self._encode(request, await self._ask(request, body, wire, record), 200)
        except RerankError as error:
            problem = error_response(error)
        except asyncio.CancelledError:
            self._server.close(record, None, 499)  # the client hung up; nginx's number for it
            raise
        except Exception:
            _log.exception("request %s failed", record.request_id)
            problem = INTERNAL
        if problem is not None:
            status = wire.STATUS.get(problem.code, problem.status)
            response = self._encode(request, wire.error(problem), status, problem.headers)
        response.headers["Server-Timing"] = record.server_timing
        if not given:
            response.headers["X-Request-Id"] = record.request_id
        self._server.close(record, problem, response.status_code)
        return response

    def _encode(
        self, request: Request, content: Any, status: int, headers: Mapping[str, str] | None = None
    ) -> Response:
        return encode(content, status, headers, as_msgpack=self._msgpack and not wants_json(request))

    async def _read(self, request: Request, record: RequestRecord) -> dict[str, Any]:
        record.key = self._server.check_key(request)
        content = await read_bytes(request, self._server.limits)
        return decode(content, as_msgpack=self._msgpack and sends_msgpack(request))

    async def _ask(self, request: Request, body: dict[str, Any], wire: Wire, record: RequestRecord) -> Any:
        timeout_s = timeout_of(request, self._server.limits)
        asked = wire.parse(body)
        requests = check_limits(asked, self._server.limits, timeout_s)
        name, scorer = self._server.models.find(request.path_params.get("model", asked.model))
        record.model, record.documents = name, sum(len(one.documents) for one in requests)
        try:
            results = await _rank_all(scorer, requests, timeout_s)
        except TooLongError as problem:
            raise TooLongError(problem.index, problem.most, asked.field) from None
        record.ranked(results)
        return asked.render(Answer(record.request_id, name, results))


async def _rank_all(scorer: Scorer, requests: tuple[RerankRequest, ...], timeout_s: float) -> tuple[RerankResult, ...]:
    """All rankings or none. Raises DeadlineError, and what the scorer raises for the first that fails."""
    turns = asyncio.Semaphore(_RANKINGS_AT_ONCE)

    async def rank(request: RerankRequest) -> RerankResult:
        async with turns:
            return await scorer.rerank(request)

    tasks = [asyncio.create_task(rank(request)) for request in requests]
    try:
        async with asyncio.timeout(timeout_s) as limit:
            return tuple(await asyncio.gather(*tasks))
    except TimeoutError:
        if not limit.expired():
            raise
        raise DeadlineError(f"the answer was not ready within {timeout_s:g} seconds") from None
    finally:
        for task in tasks:
            task.cancel()
