"""Fixtures that call the application in this process, with a model without weights."""

from collections.abc import Callable

import httpx
import pytest

from serve.http.endpoint import Server
from serve.http.limits import Limits
from serve.keys import ApiKeys
from serve.models import Models
from tests.serve.standins import LengthScorer, calling


@pytest.fixture
def scorer() -> LengthScorer:
    return LengthScorer()


@pytest.fixture
def limits() -> Limits:
    return Limits()


@pytest.fixture
def keys() -> ApiKeys | None:
    return None


@pytest.fixture
def client(scorer: LengthScorer, limits: Limits, keys: ApiKeys | None) -> Callable[..., httpx.Response]:
    """Call the application in this process: `client(path, json=…)`."""
    return calling(Server(Models({"length": scorer}, {"short": "length"}), limits, keys))
