"""The HTTP application: which path follows which protocol. It does not know Ray."""

import re
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response, Security
from fastapi.security import HTTPBearer
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rerank.errors import RerankError
from serve.errors import INTERNAL, ErrorResponse, body_for_all, error_response
from serve.http.endpoint import WARNING_HEADER, Endpoint, Server
from serve.http.examples import DOCUMENTED, describe_options, documentation
from serve.http.status import add_open_routes, add_status_routes
from serve.wires import Wire, cohere, dashscope, mixedbread, nim, vllm_score, weaviate
from serve.wires.sie import encode as sie_encode
from serve.wires.sie import score as sie_score
from serve.wires.tei import predict as tei_predict

# Clients append their own path to a base URL, which may end in /v1 (Cohere's SDK) or not (Voyage's); clients of
# llama.cpp call /reranking.
_BY_BODY_FIELD: dict[str, Wire] = {
    "/v1/rerank": cohere,
    "/rerank": cohere,
    "/v1/v1/rerank": cohere,
    "/v2/v1/rerank": cohere,
    "/v1/reranking": mixedbread,
    "/reranking": mixedbread,
    "/v1/ranking": nim,
}
_BY_PATH: dict[str, Wire] = {
    "/v2/rerank": cohere,
    "/v1/v2/rerank": cohere,
    "/v2/v2/rerank": cohere,
    "/score": vllm_score,
    "/v1/score": vllm_score,
    "/predict": tei_predict,
    "/weaviate/rerank": weaviate,
    "/api/v1/services/rerank/text-rerank/text-rerank": dashscope,
    "/compatible-api/v1/reranks": cohere,  # DashScope's, too
    "/v1/reranks": cohere,
    "/reranks": cohere,
}


def create_api(server: Server, *, cors_origins: Sequence[str] = ()) -> FastAPI:
    """Return the ASGI application of a server. Pages of `cors_origins` may call it, "*" stands for all pages."""
    api = FastAPIOffline(
        redoc_url=None,
        title="rerank",
        description="Rank documents for a query with cross-encoders.",
        version=version("rerank"),
        license_info={"name": "Apache-2.0"},
    )
    api.add_middleware(_HeadAsGet)
    api.add_middleware(_OneSlash)
    if cors_origins:
        api.add_middleware(
            CORSMiddleware,
            allow_origins=cors_origins,
            allow_methods=["GET", "HEAD", "POST"],
            allow_headers=["*"],  # SDKs send headers of their own
            expose_headers=["X-Request-Id", WARNING_HEADER, "Server-Timing", "Retry-After"],
        )
    # Only adds a field for the API key to /docs; the endpoints check the key.
    bearer = [Security(HTTPBearer(auto_error=False))] if server.api_keys else []
    protected = APIRouter(dependencies=bearer)
    for path, wire in _BY_BODY_FIELD.items():
        _post(protected, path, Endpoint(server, path, wire, by_body_field=True))
    for path, wire in _BY_PATH.items():
        _post(protected, path, Endpoint(server, path, wire))
    for path, wire in (("/v1/score/{model}", sie_score), ("/v1/encode/{model}", sie_encode)):
        _post(protected, path, Endpoint(server, path, wire, msgpack=True), route=path.replace("}", ":path}"))
    add_status_routes(protected, server)
    api.include_router(protected)
    add_open_routes(api, server)
    api.add_exception_handler(RerankError, _refuse)
    api.add_exception_handler(HTTPException, _refuse)
    api.add_exception_handler(Exception, _fail)
    return api


def _post(router: APIRouter, path: str, endpoint: Endpoint, *, route: str | None = None) -> None:
    """Add a path. Paths in `serve.http.examples` appear in the OpenAPI page, the others are aliases of those."""

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
    """Return the response for errors outside the endpoints: unknown paths and methods, and the status routes' own."""
    if isinstance(error, RerankError):
        failure = error_response(error)
        return JSONResponse(body_for_all(failure), failure.status, failure.headers)
    if not isinstance(error, HTTPException):
        raise error
    failure = ErrorResponse(error.status_code, "http", f"{error.detail}: {request.method} {request.url.path}")
    return JSONResponse(body_for_all(failure), failure.status, error.headers)


async def _fail(request: Request, error: Exception) -> Response:
    """Return the response for unexpected errors outside the endpoints; Starlette logs the error."""
    return JSONResponse(body_for_all(INTERNAL), INTERNAL.status)


class _OneSlash:
    """Replaces `//` in a path with `/`, because clients append their path to a base URL with a trailing slash."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        changed: dict[str, Any] = {}
        if scope["type"] == "http" and "//" in scope["path"]:
            changed = {"path": re.sub("/{2,}", "/", scope["path"])}
        await self._app({**scope, **changed}, receive, send)


class _HeadAsGet:
    """Answers HEAD as GET, without the body: FastAPI's routes know only the methods that they name."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def send_without_body(message: Message) -> None:
            await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

        await self._app({**scope, "method": "GET"}, receive, send_without_body)
