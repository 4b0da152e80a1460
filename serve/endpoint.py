"""From an HTTP request to its answer: read, ask, render, and word every error in the body's own dialect."""

import json
import logging
import uuid
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from rerank.errors import RerankError
from serve.models import Models
from serve.problems import NotJsonError, Problem, problem_of
from serve.wires import Answer, Wire

_log = logging.getLogger("rerank.serve")


class Endpoint:
    """One path of the server."""

    def __init__(self, models: Models, wire: Wire) -> None:
        self._models = models
        self._wire = wire

    async def answer(self, request: Request) -> Response:
        """Answer a request; whatever goes wrong is an error body, never a stack trace."""
        request_id = request.headers.get("x-request-id") or f"rerank-{uuid.uuid4().hex}"
        try:
            return await self._answer(request, request_id)
        except RerankError as error:
            problem = problem_of(error)
        except Exception:
            _log.exception("request %s failed", request_id)
            problem = Problem(500, "internal", f"internal error, the server's log has it under {request_id}")
        headers = {**problem.headers, "X-Request-Id": request_id}
        return JSONResponse(self._wire.error(problem), problem.status, headers)

    async def _answer(self, request: Request, request_id: str) -> Response:
        asked = self._wire.parse(read_object(await request.body()))
        name, scorer = self._models.find(asked.model)
        result = await scorer.rerank(asked.request)
        return JSONResponse(asked.render(Answer(request_id, name, result)), headers={"X-Request-Id": request_id})


def read_object(content: bytes) -> dict[str, Any]:
    """The body's JSON object. Raises NotJsonError."""
    try:
        body = json.loads(content)
    except ValueError as problem:
        raise NotJsonError(f"body must be a JSON object, got text that is not JSON: {problem}") from None
    if not isinstance(body, dict):
        raise NotJsonError(f"body must be a JSON object, got {type(body).__name__}")
    return body
