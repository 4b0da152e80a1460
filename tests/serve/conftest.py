"""Models that need no weights, and clients for both ways of reaching the server."""

import asyncio
import logging
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np
import pytest

from rerank.rank import relevance_scores
from rerank.types import RankedDocument, RerankRequest, RerankResult
from serve.api import create_api
from serve.endpoint import Server
from serve.models import Models


@dataclass
class LengthScorer:
    """Ranks by text length: a document of n characters has logit n - 3 and counts n tokens."""

    asked: list[RerankRequest] = field(default_factory=list)
    failure: BaseException | None = None

    async def rerank(self, request: RerankRequest) -> RerankResult:
        self.asked.append(request)
        if self.failure is not None:
            raise self.failure
        logits = np.array([len(text) - 3 for text in request.documents], dtype=np.float32)
        scores = relevance_scores(logits)
        order = sorted(range(len(logits)), key=lambda row: -logits[row])[: request.top_k]
        ranked = (RankedDocument(row, float(scores[row]), float(logits[row])) for row in order)
        return RerankResult(tuple(ranked), sum(map(len, request.documents)))

    async def describe(self) -> dict[str, Any]:
        return {"model": "length", "engine": "fake", "device": "cpu", "dtype": "float32", "max_length": 512}


@pytest.fixture
def scorer() -> LengthScorer:
    return LengthScorer()


@pytest.fixture
def client(scorer: LengthScorer) -> Callable[..., httpx.Response]:
    """Calls the application in this process: `client(path, json=…)`."""
    api = create_api(Server(Models({"length": scorer}, {"short": "length"})))

    def call(path: str, method: str = "POST", **request: Any) -> httpx.Response:
        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(api)
            async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as http:
                return await http.request(method, path, **request)

        return asyncio.run(send())

    return call


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The bundled model behind real HTTP, on a Ray of its own."""
    import ray
    from ray import serve

    from serve.app import build

    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("HF_HUB_OFFLINE", "1")
        ray.init(address="local", num_cpus=4, include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)
        try:
            port = _free_port()
            serve.start(http_options={"port": port})
            serve.run(build({}))
            yield f"http://127.0.0.1:{port}"
        finally:
            serve.shutdown()
            ray.shutdown()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
