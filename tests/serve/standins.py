"""A model without weights, and the application in this process."""

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np
import uvicorn
from fastapi import FastAPI

from jobs.bench.server.process import free_port
from rerank.ranking.relevance import relevance_scores
from rerank.types import EncodeRequest, EncodeResult, RankedDocument, RerankRequest, RerankResult, Timings
from serve.http.api import create_api
from serve.http.endpoint import Server


@dataclass
class LengthScorer:
    """Rank by text length: a document of n characters has the logit n - 3 and counts as n tokens.

    The vectors of a text are the lengths of its words, with 1 behind those of a query; or one with its own length.
    """

    asked: list[RerankRequest | EncodeRequest] = field(default_factory=list)
    failure: BaseException | None = None
    seconds: float = 0
    left: BaseException | None = None
    timings: Timings = field(default_factory=Timings)
    runs: bool = True

    async def _work(self, request: RerankRequest | EncodeRequest) -> None:
        self.asked.append(request)
        try:
            await asyncio.sleep(self.seconds)
        except BaseException as left:
            self.left = left
            raise
        if self.failure is not None:
            raise self.failure

    async def encode(self, request: EncodeRequest) -> EncodeResult:
        await self._work(request)
        output = request.outputs[0]
        parts = [text.split() if output == "multivector" else [text] for text in request.texts]
        vectors = (np.array([[len(part), request.is_query] for part in row], dtype=np.float32) for row in parts)
        return EncodeResult(output, tuple(vectors), sum(map(len, request.texts)), self.timings)

    async def rerank(self, request: RerankRequest) -> RerankResult:
        await self._work(request)
        logits = np.array([len(text) - 3 for text in request.documents], dtype=np.float32)
        scores = relevance_scores(logits)
        order = sorted(range(len(logits)), key=lambda row: -logits[row])[: request.top_k]
        ranked = (RankedDocument(row, float(scores[row]), float(logits[row])) for row in order)
        return RerankResult(tuple(ranked), sum(map(len, request.documents)), self.timings)

    async def describe(self) -> dict[str, Any]:
        known = {"model": "length", "kind": "by length", "engine": "fake", "device": "cpu"}
        return {**known, "dtype": "float32", "max_length": 512, "outputs": ["score", "dense", "multivector"]}

    async def is_running(self) -> bool:
        return self.runs


def calling(server: Server, *, cors_origins: Sequence[str] = ()) -> Callable[..., httpx.Response]:
    """Return a function that calls the application in this process: `call(path, json=…)`. Errors that the application
    raises are answered with status 500, as a real server does.
    """
    api = create_api(server, cors_origins=cors_origins)

    def call(path: str, method: str = "POST", **request: Any) -> httpx.Response:
        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(api, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as http:
                return await http.request(method, path, **request)

        return asyncio.run(send())

    return call


@contextmanager
def in_a_thread(api: FastAPI) -> Iterator[str]:
    """The address of this application, served by a thread of this process."""
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(api, port=port, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        thread.join(0.02)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(10)
