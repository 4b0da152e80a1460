"""The HTTP application: which path speaks which protocol. It knows no Ray."""

import re
from importlib.metadata import version
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response, Security
from fastapi.security import HTTPBearer
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from rerank.errors import RerankError
from serve.errors import INTERNAL, ErrorResponse, body_for_all, error_response
from serve.http.endpoint import Endpoint, Server
from serve.http.examples import DOCUMENTED, describe_options, documentation
from serve.http.status import add_open_routes, add_status_routes
from serve.wires import Wire, cohere, mixedbread, nim, sie, vllm_score

# What clients join from a base URL and their own path: the Cohere SDK onto a base that ends in /v1, Voyage's onto one
# without it, llama.cpp's users onto /reranking.
_BY_KEY: dict[str, Wire] = {
    "/v1/rerank": cohere,
    "/v2/rerank": cohere,
    "/rerank": cohere,
    "/v1/v1/rerank": cohere,
    "/v1/v2/rerank": cohere,
    "/v2/v1/rerank": cohere,
    "/v2/v2/rerank": cohere,
    "/v1/reranking": mixedbread,
    "/reranking": mixedbread,
    "/v1/ranking": nim,
}


def create_api(server: Server) -> FastAPI:
    """The ASGI application over these models."""
    api = FastAPIOffline(
        redoc_url=None,
        title="rerank",
        description="Rank documents for a query with cross-encoders.",
        version=version("rerank"),
        license_info={"name": "Apache-2.0"},
    )
    api.add_middleware(_OneSlash)
    bearer = [Security(HTTPBearer(auto_error=False))] if server.keys else []  # a field on the page: endpoints check it
    keyed = APIRouter(dependencies=bearer)
    for path, wire in _BY_KEY.items():
        _post(keyed, path, Endpoint(server, path, wire, by_body_field=True))
    for path in ("/score", "/v1/score"):
        _post(keyed, path, Endpoint(server, path, vllm_score))
    path = "/v1/score/{model}"
    _post(keyed, path, Endpoint(server, path, sie, msgpack=True), route="/v1/score/{model:path}")
    add_status_routes(keyed, server)
    api.include_router(keyed)
    add_open_routes(api, server)
    api.add_exception_handler(RerankError, _refuse)
    api.add_exception_handler(HTTPException, _refuse)
    api.add_exception_handler(Exception, _fail)
    return api


def _post(router: APIRouter, path: str, endpoint: Endpoint, *, route: str | None = None) -> None:
    """Add a path; it is documented where `serve.http.examples` has it, the others are its aliases."""

    async def answer(request: Request) -> Response:
        return await endpoint.answer(request)

    documented = path in DOCUMENTED
    router.add_api_route(
        route or path,
        answer,
        methods=["POST"],
        response_model=None,
        summary=DOCUMENTED[path][0] if documented else None,
        description=describe_options(path) if documented else None,
        include_in_schema=documented,
        openapi_extra=documentation(path) if documented else None,
    )


async def _refuse(request: Request, error: Exception) -> Response:
    """Errors outside the endpoints: unknown paths and methods, and the status routes' own."""
    if isinstance(error, RerankError):
        problem = error_response(error)
        return JSONResponse(body_for_all(problem), problem.status, problem.headers)
    if not isinstance(error, HTTPException):
        raise error
    problem = ErrorResponse(error.status_code, "http", f"{error.detail}: {request.method} {request.url.path}")
    return JSONResponse(body_for_all(problem), problem.status, error.headers)


async def _fail(request: Request, error: Exception) -> Response:
    """What nobody foresaw, outside the endpoints; Starlette passes it on to the server's log."""
    return JSONResponse(body_for_all(INTERNAL), INTERNAL.status)


class _OneSlash:
    """Reads `//` in a path as `/`: what a base URL with a trailing slash turns into."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        changed: dict[str, Any] = {}
        if scope["type"] == "http" and "//" in scope["path"]:
            changed = {"path": re.sub("/{2,}", "/", scope["path"])}
        await self._app({**scope, **changed}, receive, send)
