"""The HTTP application: which path speaks which protocol. It knows no Ray."""

from fastapi import FastAPI, Request, Response

from serve.endpoint import Endpoint
from serve.models import Models
from serve.wires import Wire, cohere


def create_api(models: Models) -> FastAPI:
    """The ASGI application over these models."""
    api = FastAPI(title="rerank", description="Rank documents for a query with cross-encoders.")
    _post(api, "/v1/rerank", models, cohere)
    return api


def _post(api: FastAPI, path: str, models: Models, wire: Wire) -> None:
    endpoint = Endpoint(models, wire)

    async def answer(request: Request) -> Response:
        return await endpoint.answer(request)

    api.add_api_route(path, answer, methods=["POST"], response_model=None)
