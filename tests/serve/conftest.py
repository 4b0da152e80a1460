"""The application in this process, over a model without weights."""

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from standins import LengthScorer

from serve.api import create_api
from serve.endpoint import Server
from serve.keys import Keys
from serve.limits import Limits
from serve.models import Models


@pytest.fixture
def scorer() -> LengthScorer:
    return LengthScorer()


@pytest.fixture
def limits() -> Limits:
    return Limits()


@pytest.fixture
def keys() -> Keys | None:
    return None


@pytest.fixture
def client(scorer: LengthScorer, limits: Limits, keys: Keys | None) -> Callable[..., httpx.Response]:
    """Calls the application in this process: `client(path, json=…)`."""
    api = create_api(Server(Models({"length": scorer}, {"short": "length"}), limits, keys))

    def call(path: str, method: str = "POST", **request: Any) -> httpx.Response:
        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(api)
            async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as http:
                return await http.request(method, path, **request)

        return asyncio.run(send())

    return call
