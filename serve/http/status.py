"""Status routes: models, limits, metrics and health probes, and the playground page."""

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
    """Add /v1/models, /info and /metrics, which require an API key if the server has keys."""

    @router.get("/v1/models", responses=errors(401, 503))
    async def models(request: Request) -> dict[str, Any]:
        """List the models by name, in the formats of OpenAI (`data`) and of SIE (`models`)."""
        server.check_key(request)
        return await describe_all(server.models)

    @router.get("/info", responses=errors(401, 503))
    async def info(request: Request) -> dict[str, Any]:
        """Describe the first model and the limits, in the format of text-embeddings-inference."""
        server.check_key(request)
        name, scorer = server.models.find(None)
        description = await scorer.describe()
        return {
            "model_id": name,
            "model_sha": None,
            "model_dtype": description["dtype"],
            "model_kind": description.get("kind"),
            "model_type": {"reranker": {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}},
            "max_input_length": description["max_length"],
            "max_client_batch_size": server.limits.documents,
            "payload_limit": server.limits.body_bytes,
            "version": version("rerank"),
        }

    @router.get("/metrics", response_class=PlainTextResponse, responses=errors(401))
    async def metrics(request: Request) -> Response:
        """Return the metrics of this ingress replica; Ray's metrics endpoints have those of all replicas."""
        server.check_key(request)
        return Response(server.local.text(), media_type=CONTENT_TYPE_LATEST)


def add_open_routes(api: FastAPI, server: Server) -> None:
    """Add the playground and the probes, which never require an API key."""

    @api.get("/", include_in_schema=False)
    async def playground() -> Response:
        return Response(_PLAYGROUND.read_bytes(), media_type="text/html", headers={"Content-Security-Policy": _POLICY})

    @api.get("/readyz", responses=errors(503))
    async def ready() -> dict[str, str]:
        """Return 200 once every model that is never scaled to zero answers, and 503 until then."""
        for name in set(server.models.names) - server.models.may_sleep:
            await server.models.find(name)[1].describe()
        return {"status": "ok"}

    @api.get("/health")
    @api.get("/healthz")
    async def health() -> dict[str, str]:
        """Return 200 while this process runs."""
        return {"status": "ok"}


async def describe_all(models: Models) -> dict[str, Any]:
    """Describe every model with its aliases; the length limit of a model that may sleep is left out."""
    data, described = [], []
    for name in models.names:
        description = None if name in models.may_sleep else await models.find(name)[1].describe()
        data.append({"id": name, "object": "model", "owned_by": "rerank", "aliases": models.aliases_of(name)})
        described.append(
            {
                "name": name,
                "loaded": description is not None,
                "state": "loaded" if description else "available",
                "inputs": ["text"],
                "outputs": ["score"],
                "kind": description.get("kind") if description else None,
                "max_sequence_length": description["max_length"] if description else None,
            }
        )
    return {"object": "list", "data": data, "models": described}
