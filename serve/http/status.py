"""What the server says of itself: models, limits, numbers, whether it is well, and a page to try it on."""

from importlib.metadata import version
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST

from serve.http.endpoint import Server
from serve.http.response_schemas import errors
from serve.models import Models

_PLAYGROUND = Path(__file__).parent / "playground.html"
_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; base-uri 'none'"
)


def add_status_routes(router: APIRouter, server: Server) -> None:
    """Add /v1/models, /info and /metrics, which ask for a key where there are keys."""

    @router.get("/v1/models", responses=errors(401, 503))
    async def models(request: Request) -> dict[str, Any]:
        """The models by name, in the shape of OpenAI (`data`) and of SIE (`models`)."""
        server.check_key(request)
        return await describe_all(server.models)

    @router.get("/info", responses=errors(401, 503))
    async def info(request: Request) -> dict[str, Any]:
        """The first model and the limits, in the shape of text-embeddings-inference."""
        server.check_key(request)
        name, scorer = server.models.find(None)
        about = await scorer.describe()
        return {
            "model_id": name,
            "model_sha": None,
            "model_dtype": about["dtype"],
            "model_type": {"reranker": {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}},
            "max_input_length": about["max_length"],
            "max_client_batch_size": server.limits.documents,
            "payload_limit": server.limits.body_bytes,
            "version": version("rerank"),
        }

    @router.get("/metrics", response_class=PlainTextResponse, responses=errors(401))
    async def metrics(request: Request) -> Response:
        """Counts and durations of this ingress replica; those of all replicas are at Ray's own metrics endpoints."""
        server.check_key(request)
        return Response(server.local.text(), media_type=CONTENT_TYPE_LATEST)


def add_open_routes(api: FastAPI, server: Server) -> None:
    """Add the playground and the probes, which anybody may read."""

    @api.get("/", include_in_schema=False)
    async def playground() -> Response:
        return Response(_PLAYGROUND.read_bytes(), media_type="text/html", headers={"Content-Security-Policy": _POLICY})

    @api.get("/readyz", responses=errors(503))
    async def ready() -> dict[str, str]:
        """Whether every model that is always there answers; 503 until then."""
        for name in set(server.models.names) - server.models.may_sleep:
            await server.models.find(name)[1].describe()
        return {"status": "ok"}

    @api.get("/health")
    @api.get("/healthz")
    async def health() -> dict[str, str]:
        """Whether this process answers."""
        return {"status": "ok"}


async def describe_all(models: Models) -> dict[str, Any]:
    """Every model with its aliases, and the length limit of those that are always there."""
    data, described = [], []
    for name in models.names:
        about = None if name in models.may_sleep else await models.find(name)[1].describe()
        data.append({"id": name, "object": "model", "owned_by": "rerank", "aliases": models.aliases_of(name)})
        described.append(
            {
                "name": name,
                "loaded": about is not None,
                "state": "loaded" if about else "available",
                "inputs": ["text"],
                "outputs": ["score"],
                "max_sequence_length": about["max_length"] if about else None,
            }
        )
    return {"object": "list", "data": data, "models": described}
