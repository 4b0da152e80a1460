"""What the server says of itself: models, limits, and whether it is well."""

from importlib.metadata import version
from typing import Any

from fastapi import FastAPI, Request

from serve.endpoint import Server
from serve.models import Models


def add_status_routes(api: FastAPI, server: Server) -> None:
    """Add GET /v1/models, /info, /health, /healthz and /readyz; the first two ask for a key where there are keys."""

    def check(request: Request) -> None:
        if server.keys is not None:
            server.keys.check(request.headers.get("authorization"))

    @api.get("/v1/models")
    async def models(request: Request) -> dict[str, Any]:
        """The models by name, in the shape of OpenAI (`data`) and of SIE (`models`)."""
        check(request)
        return await describe_all(server.models)

    @api.get("/info")
    async def info(request: Request) -> dict[str, Any]:
        """The first model and the limits, in the shape of text-embeddings-inference."""
        check(request)
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

    @api.get("/readyz")
    async def ready() -> dict[str, str]:
        """Whether every model answers; 503 until then."""
        for name in server.models.names:
            await server.models.find(name)[1].describe()
        return {"status": "ok"}

    @api.get("/health")
    @api.get("/healthz")
    async def health() -> dict[str, str]:
        """Whether this process answers."""
        return {"status": "ok"}


async def describe_all(models: Models) -> dict[str, Any]:
    """Every model with its aliases and length limit."""
    data, described = [], []
    for name in models.names:
        about = await models.find(name)[1].describe()
        data.append({"id": name, "object": "model", "owned_by": "rerank", "aliases": models.aliases_of(name)})
        described.append(
            {
                "name": name,
                "loaded": True,
                "state": "loaded",
                "inputs": ["text"],
                "outputs": ["score"],
                "max_sequence_length": about["max_length"],
            }
        )
    return {"object": "list", "data": data, "models": described}
