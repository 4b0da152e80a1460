"""The readiness probe: an answer within a second, and no 503 for a model that is only busy."""

import asyncio
import time
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from ray import serve as ray_serve

from rerank.errors import OverloadedError, UnavailableError
from serve.deployments import DeploymentScorer
from serve.http.api import create_api
from serve.http.endpoint import Server
from serve.http.status import _DESCRIBE_S, _RUNNING_S
from serve.models import Models
from tests.serve.standins import LengthScorer

PATIENCE_S = 5


class Described(LengthScorer):
    """A model whose description never comes, or is this error."""

    error: Exception | None = None
    asked_to_describe = 0

    async def describe(self) -> dict[str, Any]:
        self.asked_to_describe += 1
        if self.error is not None:
            raise self.error
        return await asyncio.Event().wait()


class Stuck(Described):
    """A model of which nobody can say whether it runs."""

    async def is_running(self) -> bool:
        return await asyncio.Event().wait()


async def probe(scorer: LengthScorer, *, times: int = 1) -> list[httpx.Response]:
    models = Models({"other": LengthScorer(), "m": scorer})
    transport = httpx.ASGITransport(create_api(Server(models)), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://t", timeout=20) as http, asyncio.timeout(20):
        return await asyncio.gather(*(http.get("/readyz") for _ in range(times)))


@pytest.mark.parametrize(
    ("scorer", "error", "status"),
    [
        (Described(), OverloadedError("full"), 200),
        (Described(), UnavailableError("gone"), 503),
        (Described(), RuntimeError("bug"), 503),
        (Described(), None, 200),
        (Described(runs=False), None, 503),
        (Stuck(), None, 503),
    ],
    ids=["full", "gone", "failing", "busy", "silent", "unknown"],
)
def test_readiness_is_answered_within_a_second_and_overload_is_not_unreadiness(scorer, error, status):
    scorer.error = error
    started = time.monotonic()
    (answer,) = asyncio.run(probe(scorer))
    assert _DESCRIBE_S + _RUNNING_S < 1
    assert time.monotonic() - started < PATIENCE_S  # a second, and what other processes take of it
    assert answer.status_code == status
    if status == 503:
        assert answer.json()["message"] == "not ready, these models do not run at the moment: m"


def test_however_many_probe_the_model_is_asked_once():
    scorer = Described()
    answers = asyncio.run(probe(scorer, times=50))
    assert {answer.status_code for answer in answers} == {200} and scorer.asked_to_describe == 1


@pytest.mark.parametrize("path", ["/v1/models", "/info"])
def test_a_description_that_does_not_come_has_a_deadline(path):
    api = create_api(Server(Models({"m": Described()})))

    async def scenario() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(api), base_url="http://t") as http:
            return await asyncio.wait_for(http.get(path, headers={"X-Request-Timeout": "0.05"}), 20)

    answer = asyncio.run(scenario())
    assert (answer.status_code, answer.json()["message"]) == (504, "the answer was not ready within 0.05 seconds")


@pytest.mark.parametrize(
    ("states", "runs"), [({"RUNNING": 1}, True), ({"RUNNING": 2, "STARTING": 1}, True), ({"STARTING": 1}, False)]
)
def test_serve_s_controller_says_whether_a_replica_runs(monkeypatch, states, runs):
    deployment = SimpleNamespace(replica_states=states)
    status = SimpleNamespace(applications={"default": SimpleNamespace(deployments={"m": deployment})})
    monkeypatch.setattr(ray_serve, "status", lambda: status)
    for name in ("m", "unknown"):
        scorer = DeploymentScorer(SimpleNamespace(app_name="default", deployment_name=name))
        assert asyncio.run(scorer.is_running()) == (runs and name == "m")
