"""Status routes: models, limits, metrics and health probes, also Weaviate's, and the playground page."""

import asyncio
import logging
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST

from rerank.errors import OverloadedError, RerankError, UnavailableError
from serve.http.endpoint import Server
from serve.http.limits import Deadline
from serve.http.response_schemas import MODEL_IN_PATH, errors
from serve.models import Models, Scorer

_log = logging.getLogger("rerank.serve")

_DESCRIBE_S, _RUNNING_S = 0.5, 0.4  # for the two questions of the readiness probe, which answers within a second
_PLAYGROUND = Path(__file__).parent / "playground.html"
_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; base-uri 'none'"
)


def add_status_routes(router: APIRouter, server: Server) -> None:
    """Add what describes the server, and /metrics. They require an API key if the server has keys."""

    @router.get("/v1/models", responses=errors(401, 429, 503, 504))
    async def models(request: Request) -> dict[str, Any]:
        """List the models by name, in the formats of OpenAI (`data`) and of SIE (`models`)."""
        server.check_key(request)
        async with Deadline.of(request, server.limits).enforced():
            return await describe_all(server.models)

    @router.get(
        "/v1/models/{model:path}",
        responses=errors(401, 404, 429, 503, 504),
        openapi_extra={"parameters": [MODEL_IN_PATH]},
    )
    async def model(request: Request) -> dict[str, Any]:
        """Describe a model by its name or alias, in the formats of OpenAI, of SIE and of Xinference (`model_type`)."""
        return await describe(request, request.path_params["model"])

    @router.get("/weaviate/meta", responses=errors(401, 429, 503, 504))
    async def weaviate_meta(request: Request) -> dict[str, Any]:
        """Describe the first model, for Weaviate's module reranker-transformers."""
        return await describe(request, None)

    async def describe(request: Request, name: str | None) -> dict[str, Any]:
        server.check_key(request)
        public, _ = server.models.find(name)
        async with Deadline.of(request, server.limits).enforced():
            return await describe_model(server.models, public)

    @router.get("/info", responses=errors(401, 429, 503, 504))
    async def info(request: Request) -> dict[str, Any]:
        """Describe the first model and the limits, in the format of text-embeddings-inference."""
        server.check_key(request)
        name, scorer = server.models.find(None)
        async with Deadline.of(request, server.limits).enforced():
            description = await scorer.describe()
        return {
            "model_id": name,
            "model_sha": None,
            "model_dtype": description["dtype"],
            "model_kind": description.get("kind"),
            "model_type": {"reranker": {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}},
            "max_input_length": description["max_length"],
            "max_client_batch_size": server.limits.documents,
            "blank_documents": "last, with score 0",
            "payload_limit": server.limits.body_bytes,
            "version": version("rerank"),
        }

    @router.get("/metrics", response_class=PlainTextResponse, responses=errors(401))
    async def metrics(request: Request) -> Response:
        """Return the metrics of this ingress replica; Ray's metrics endpoints have those of all replicas."""
        server.check_key(request)
        server.measure_keys()
        return Response(server.local.text(), media_type=CONTENT_TYPE_LATEST)


def add_open_routes(api: FastAPI, server: Server) -> None:
    """Add the playground and the probes, which never require an API key."""
    readiness = _Readiness(server.models)

    @api.get("/", include_in_schema=False)
    async def playground() -> Response:
        return Response(_PLAYGROUND.read_bytes(), media_type="text/html", headers={"Content-Security-Policy": _POLICY})

    @api.get("/v1/cluster/auth")
    async def needs_key() -> dict[str, bool]:
        """Return whether requests need an API key: Xinference's client sends its own only then."""
        return {"auth": server.api_keys is not None}

    @api.get("/weaviate/.well-known/live", status_code=204)
    async def weaviate_live() -> None:
        """Return 204 while this process runs."""

    @api.get("/weaviate/.well-known/ready", status_code=204, responses=errors(503))
    async def weaviate_ready() -> None:
        """Return 204 if every model that is never scaled to zero runs; 503 otherwise."""
        await readiness.check()

    @api.get("/readyz", responses=errors(503))
    async def ready() -> dict[str, str]:
        """Return 200 if every model that is never scaled to zero runs, however busy it is; 503 otherwise.

        The answer comes within a second.
        """
        await readiness.check()
        return {"status": "ok"}

    @api.get("/health")
    @api.get("/healthz")
    async def health() -> dict[str, str]:
        """Return 200 while this process runs."""
        return {"status": "ok"}


class _Readiness:
    """Whether the models run. However many ask, the models are asked once at a time: a probe needs no API key."""

    def __init__(self, models: Models) -> None:
        self._models = models
        self._check: asyncio.Task[list[str]] | None = None

    async def check(self) -> None:
        """Raise UnavailableError if a model that is never scaled to zero does not run."""
        if self._check is None or self._check.done():
            self._check = asyncio.create_task(self._missing())
        if missing := await asyncio.shield(self._check):
            raise UnavailableError(f"not ready, these models do not run at the moment: {', '.join(missing)}")

    async def _missing(self) -> list[str]:
        names = [name for name in self._models.names if name not in self._models.may_sleep]
        running = await asyncio.gather(*(_runs(self._models.find(name)[1]) for name in names))
        return [name for name, runs in zip(names, running, strict=True) if not runs]


async def _runs(scorer: Scorer) -> bool:
    """Return whether a model answers, or is only too busy to answer."""
    try:
        with suppress(TimeoutError):  # its queue may be full
            async with asyncio.timeout(_DESCRIBE_S):
                await scorer.describe()
                return True
        async with asyncio.timeout(_RUNNING_S):
            return await scorer.is_running()
    except OverloadedError:
        return True
    except (RerankError, TimeoutError):
        return False
    except Exception:
        _log.exception("a model cannot be asked whether it runs")
        return False


async def describe_all(models: Models) -> dict[str, Any]:
    """Describe every model, once in the list that OpenAI's clients read and once in that of SIE's."""
    described = [await describe_model(models, name) for name in models.names]
    return {"object": "list", "data": described, "models": described}


async def describe_model(models: Models, name: str) -> dict[str, Any]:
    """Describe the model of this public name; the length limit of a model that may sleep is left out."""
    description = None if name in models.may_sleep else await models.find(name)[1].describe()
    return {
        "id": name,
        "object": "model",
        "owned_by": "rerank",
        "aliases": models.aliases_of(name),
        "model_type": "rerank",
        "name": name,
        "loaded": description is not None,
        "state": "loaded" if description else "available",
        "inputs": ["text"],
        "passages": name in models.with_passages,
        "outputs": description.get("outputs", ["score"]) if description else ["score"],
        "kind": description.get("kind") if description else None,
        "max_sequence_length": description["max_length"] if description else None,
    }
