"""Requests that kill what scores them: how many replicas one may take with it, and how many requests."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field

import pytest
from ray.exceptions import ActorDiedError

import serve.deployments
from rerank.errors import RerankError
from rerank.types import RerankRequest, RerankResult
from serve.deployments import DeploymentScorer
from serve.errors import KilledWorkersError, error_response

RESULT = RerankResult((), 1)
DEADLY = RerankRequest("deadly", ("a",))


@dataclass
class Replica:
    """A model whose process dies with all that it was asked as soon as a query says so; the next one starts at once."""

    scored: Counter[str] = field(default_factory=Counter)
    deaths: int = 0
    _waiting: list[asyncio.Future[RerankResult]] = field(default_factory=list)

    @property
    def rerank(self) -> "Replica":
        return self

    def remote(self, request: RerankRequest) -> asyncio.Future[RerankResult]:
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        if not self._waiting:
            loop.call_later(0.01, self._score)
        self._waiting.append(future)
        self.scored[request.query] += 1
        if request.query == "deadly":
            loop.call_soon(self._die)
        return future

    def _score(self) -> None:
        for future in self._waiting:
            future.done() or future.set_result(RESULT)
        self._waiting = []

    def _die(self) -> None:
        self.deaths += 1
        for future in self._waiting:
            future.done() or future.set_exception(ActorDiedError())
        self._waiting = []


async def outcome(scorer: DeploymentScorer, request: RerankRequest) -> RerankResult | RerankError:
    try:
        return await scorer.rerank(request)
    except RerankError as error:
        return error


def test_a_deadly_request_takes_two_replicas_with_it_and_no_third_however_often_it_is_sent() -> None:
    replica = Replica()
    scorer = DeploymentScorer(replica)

    async def scenario() -> list[RerankResult | RerankError]:
        return [await outcome(scorer, RerankRequest("deadly", ("a",), timeout_s=turn)) for turn in (1, 2, 3)]

    errors = asyncio.run(scenario())
    assert [type(error) for error in errors] == [KilledWorkersError] * 3
    assert replica.deaths == 2
    response = error_response(errors[0])
    assert (response.status, response.headers) == (422, {})  # no client tries it again by itself
    assert response.message.startswith("2 processes of the model died or lost their device while they scored")


def test_a_replica_that_died_counts_once_however_often_serve_sends_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve.deployments, "_STALE_PAUSE_S", 0.001)

    class Stale(Replica):
        def remote(self, request: RerankRequest) -> asyncio.Future[RerankResult]:
            self.scored[request.query] += 1
            future = asyncio.get_running_loop().create_future()
            if self.scored[request.query] <= 3:
                died = ActorDiedError()
                died.actor_id = "0a"
                future.set_exception(died)
            else:
                future.set_result(RESULT)
            return future

    assert asyncio.run(DeploymentScorer(Stale()).rerank(DEADLY)) is RESULT


def test_few_of_the_requests_beside_a_deadly_one_are_refused_with_it() -> None:
    replica = Replica()
    scorer = DeploymentScorer(replica)

    async def scenario() -> list[RerankResult | RerankError]:
        beside = [RerankRequest(f"q{row}", ("a",)) for row in range(100)]
        return await asyncio.gather(*(outcome(scorer, request) for request in [*beside, DEADLY]))

    *beside, deadly = asyncio.run(scenario())
    assert isinstance(deadly, KilledWorkersError) and replica.deaths == 2
    refused = sum(isinstance(answer, KilledWorkersError) for answer in beside)
    assert refused < 8
    assert beside.count(RESULT) == 100 - refused


def test_a_request_that_was_answered_is_no_longer_suspected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve.deployments, "_SUSPECTS_AT_ONCE", 1)
    scorer = DeploymentScorer(Replica())
    innocent = RerankRequest("q", ("a",))

    async def scenario() -> list[RerankResult | RerankError]:
        answers = []
        for row in range(3):
            deadly = RerankRequest("deadly", (f"{row}",))
            answers += (await asyncio.gather(outcome(scorer, innocent), outcome(scorer, deadly)))[:1]
        return answers

    assert asyncio.run(scenario()) == [RESULT] * 3


def test_a_refused_request_is_tried_again_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    replica, now = Replica(), [1_000.0]
    monkeypatch.setattr(serve.deployments, "monotonic", lambda: now[0])
    scorer = DeploymentScorer(replica)

    async def scenario() -> None:
        assert isinstance(await outcome(scorer, DEADLY), KilledWorkersError)
        now[0] += 599
        assert isinstance(await outcome(scorer, DEADLY), KilledWorkersError)
        assert replica.deaths == 2
        now[0] += 2
        await outcome(scorer, DEADLY)
        assert replica.deaths == 4

    asyncio.run(scenario())


def test_requests_to_remember_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve.deployments, "_MOST_REMEMBERED", 3)
    replica = Replica()
    scorer = DeploymentScorer(replica)

    async def scenario() -> None:
        for row in range(5):
            assert isinstance(await outcome(scorer, RerankRequest("deadly", (str(row),))), KilledWorkersError)
        before = replica.deaths
        assert isinstance(await outcome(scorer, RerankRequest("deadly", ("4",))), KilledWorkersError)
        assert replica.deaths == before
        await outcome(scorer, RerankRequest("deadly", ("0",)))
        assert replica.deaths == before + 2

    asyncio.run(scenario())
