"""From an HTTP request to its answer: read, ask, render, and word every error in the body's own dialect."""

import asyncio
import logging
import uuid
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from rerank.errors import DeadlineError, RerankError
from rerank.types import RerankRequest, RerankResult
from serve.codec import decode, encode, wants_json
from serve.keys import Keys
from serve.limits import Limits, read_bytes, timeout_of, within
from serve.models import Models, Scorer
from serve.problems import Problem, problem_of
from serve.wires import Answer, Wire
from serve.wires.table import wire_of

_log = logging.getLogger("rerank.serve")


@dataclass(frozen=True, slots=True)
class Server:
    """What all paths share. Without `keys` anybody may ask."""

    models: Models
    limits: Limits = field(default_factory=Limits)
    keys: Keys | None = None


class Endpoint:
    """A path that takes bodies. Where `by_key`, the body's keys name the dialect and `wire` is the fallback; where
    `msgpack`, answers are msgpack unless JSON is asked for.
    """

    def __init__(self, server: Server, wire: Wire, *, by_key: bool = False, msgpack: bool = False) -> None:
        self._server = server
        self._wire = wire
        self._by_key = by_key
        self._msgpack = msgpack

    async def answer(self, request: Request) -> Response:
        """Answer a request; whatever goes wrong is an error body, never a stack trace."""
        given = request.headers.get("x-request-id")  # by a proxy, as Serve's is, which then answers with it too
        request_id = given or f"rerank-{uuid.uuid4().hex}"
        headers = {} if given else {"X-Request-Id": request_id}
        wire, status = self._wire, 200
        try:
            body = await self._read(request)
            wire = wire_of(body, otherwise=wire) if self._by_key else wire
            content = await self._ask(request, body, wire, request_id, headers)
        except RerankError as error:
            problem = problem_of(error)
            status, content = wire.STATUS.get(problem.code, problem.status), wire.error(problem)
            headers |= problem.headers
        except Exception:
            _log.exception("request %s failed", request_id)
            problem = Problem(500, "internal", "internal error; the server's log has it under the X-Request-Id")
            status, content = 500, wire.error(problem)
        return encode(content, status, headers, as_msgpack=self._msgpack and not wants_json(request))

    async def _read(self, request: Request) -> dict[str, Any]:
        server = self._server
        if server.keys is not None:
            server.keys.check(request.headers.get("authorization"))
        return decode(await read_bytes(request, server.limits), request.headers.get("content-type", ""))

    async def _ask(
        self, request: Request, body: dict[str, Any], wire: Wire, request_id: str, headers: dict[str, str]
    ) -> Any:
        timeout_s = timeout_of(request, self._server.limits)
        asked = wire.parse(body)
        requests = within(asked, self._server.limits, timeout_s)
        name, scorer = self._server.models.find(request.path_params.get("model", asked.model))
        results = await _rank_all(scorer, requests, timeout_s)
        headers["Server-Timing"] = _server_timing(results)
        return asked.render(Answer(request_id, name, results))


async def _rank_all(scorer: Scorer, requests: tuple[RerankRequest, ...], timeout_s: float) -> tuple[RerankResult, ...]:
    """All rankings or none. Raises DeadlineError, and what the scorer raises for the first that fails."""
    tasks = [asyncio.ensure_future(scorer.rerank(request)) for request in requests]
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


def _server_timing(results: tuple[RerankResult, ...]) -> str:
    """The slowest of the rankings, stage by stage, in milliseconds: https://www.w3.org/TR/server-timing/."""
    stages = ("tokenize", "queue", "score")
    slowest = {stage: max(getattr(result.timings, f"{stage}_s") for result in results) for stage in stages}
    return ", ".join(f"{stage};dur={seconds * 1000:.1f}" for stage, seconds in slowest.items())
