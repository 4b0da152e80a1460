"""A shadow scores a share of the requests after they were answered, and only the metrics tell of it."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import httpx
import pytest

from rerank.errors import ConfigError, OverloadedError, UnavailableError
from rerank.types import RankedDocument, RerankRequest, RerankResult
from serve.app import shadows_of
from serve.http.api import create_api
from serve.http.endpoint import Server
from serve.models import Models
from serve.settings import parse_settings
from serve.shadow import is_in_share
from tests.serve.standins import LengthScorer

BODY = {"query": "q", "documents": ["aaaa", "aaa", "aaaaaa", " ", "aaaaa"], "top_n": 2}
LABELS = 'model="length",shadow="short first"'


@dataclass
class ShortFirst(LengthScorer):
    """Rank by text length, the shortest first, once the event is set."""

    may_go_on: asyncio.Event = field(default_factory=asyncio.Event)

    async def rerank(self, request: RerankRequest) -> RerankResult:
        await self._work(request)
        await self.may_go_on.wait()
        order = sorted(range(request.size), key=lambda row: len(request.documents[row]))
        return RerankResult(tuple(RankedDocument(row, 0.5, -float(len(request.documents[row]))) for row in order), 1)


class Running:
    """A server in this event loop whose model has a shadow."""

    def __init__(self, *, share: float = 1.0) -> None:
        settings = parse_settings(
            {
                "models": [
                    {"name": "length", "shadow": {"model": "s", "share": share}},
                    {"name": "short first", "aliases": ["s"]},
                ]
            }
        )
        self.scorer, self.shadow = LengthScorer(), ShortFirst()
        scorers = {"length": self.scorer, "short first": self.shadow}
        self.server = Server(Models(scorers), shadows=shadows_of(settings, scorers))
        transport = httpx.ASGITransport(create_api(self.server))
        self.http = httpx.AsyncClient(transport=transport, base_url="http://testserver")

    async def ask(self, **headers: str) -> httpx.Response:
        answer = await self.http.post("/v1/rerank", json=BODY, headers=headers)
        assert answer.status_code == 200
        return answer

    def value(self, sample: str) -> float:
        lines = (line.rpartition(" ") for line in self.server.local.text().decode().splitlines())
        return sum(float(value) for name, _, value in lines if name == sample)

    def count(self, outcome: str) -> float:
        labels = f'model="length",outcome="{outcome}",shadow="short first"'
        return self.value(f"rerank_shadow_requests_total{{{labels}}}")

    async def wait_for(self, outcome: str, count: int) -> None:
        async with asyncio.timeout(10):
            while self.count(outcome) < count:
                await asyncio.sleep(0)


def running(test: Callable[[Running], Awaitable[None]], **options: float) -> None:
    async def run() -> None:
        await test(Running(**options))

    asyncio.run(run())


def test_the_differences_are_measured_after_the_answer() -> None:
    async def check(running: Running) -> None:
        answer = await running.ask()
        assert [result["index"] for result in answer.json()["results"]] == [2, 4]
        assert running.count("scored") == 0  # the shadow has not answered yet
        running.shadow.may_go_on.set()
        await running.wait_for("scored", 1)
        (asked,) = running.shadow.asked
        assert asked.size == 4 and asked.top_k is None  # all but the blank one
        # The answer is 2, 4; the shadow ranks 1 0 4 2: both pairs of top 2 differ, and the two are the other way round.
        assert running.value(f"rerank_shadow_top_10_overlap_sum{{{LABELS}}}") == 0
        assert running.value(f"rerank_shadow_discordant_pairs_sum{{{LABELS}}}") == 1
        assert running.value(f"rerank_shadow_logit_difference_sum{{{LABELS}}}") == (9 + 7) / 2  # 3 and -6, 2 and -5

    running(check)


def test_a_shadow_that_is_busy_drops_requests_and_delays_none() -> None:
    async def check(running: Running) -> None:
        for _ in range(6):
            await running.ask()
        await running.wait_for("dropped", 2)
        assert len(running.shadow.asked) == 4
        running.shadow.may_go_on.set()
        await running.wait_for("scored", 4)
        await running.ask()  # there is room again
        await running.wait_for("scored", 5)
        assert running.count("dropped") == 2

    running(check)


@pytest.mark.parametrize(
    ("failure", "outcome"),
    [
        (OverloadedError("full"), "dropped"),
        (UnavailableError("away"), "failed"),
        (TimeoutError(), "failed"),
        (RuntimeError("a bug"), "failed"),
    ],
)
def test_errors_of_a_shadow_are_only_counted(failure: Exception, outcome: str) -> None:
    async def check(running: Running) -> None:
        running.shadow.failure = failure
        await running.ask()
        await running.wait_for(outcome, 1)
        assert running.count("scored") == 0

    running(check)


def test_texts_beyond_16_mib_are_dropped() -> None:
    async def check(running: Running) -> None:
        request = RerankRequest("q", ("a" * 10 * 2**20,))
        shadow = running.server.shadows["length"]
        for request_id in "ab":
            await shadow.offer(request_id, request, await running.scorer.rerank(request), running.server.sinks)
        assert running.count("dropped") == 1
        running.shadow.may_go_on.set()
        await running.wait_for("scored", 1)
        assert running.value(f"rerank_shadow_discordant_pairs_count{{{LABELS}}}") == 0  # one document has no pairs

    running(check)


def test_the_share_is_that_of_the_request_ids() -> None:
    ids = [str(uuid.UUID(int=number)) for number in range(4_000)]
    chosen = {request_id for request_id in ids if is_in_share(request_id, 0.1)}
    assert 350 < len(chosen) < 450
    assert chosen < {request_id for request_id in ids if is_in_share(request_id, 0.2)}
    assert all(is_in_share(request_id, 1.0) for request_id in ids)

    async def check(running: Running) -> None:
        running.shadow.may_go_on.set()
        inside, outside = min(chosen), min(set(ids) - chosen)
        for request_id in (outside, inside, outside, inside):
            await running.ask(**{"X-Request-Id": request_id})
        await running.wait_for("scored", 2)
        assert len(running.scorer.asked) == 4 and len(running.shadow.asked) == 2

    running(check, share=0.1)


def test_requests_to_the_shadow_itself_have_no_shadow() -> None:
    async def check(running: Running) -> None:
        running.shadow.may_go_on.set()
        answer = await running.http.post("/v1/rerank", json={**BODY, "model": "short first"})
        assert answer.status_code == 200
        assert set(running.server.shadows) == {"length"} and running.scorer.asked == []

    running(check)


@pytest.mark.parametrize(
    ("shadow", "message"),
    [
        ({"model": "nowhere"}, "models: 'a': shadow 'nowhere' is not served here, accepted are 'c'"),
        ({"model": "first"}, "models: 'a': shadow 'first' is the model itself, accepted are 'c'"),
        ({"model": "best"}, "models: 'a': shadow 'best' is a cascade, accepted are 'c'"),
        ({"model": "b"}, "models: 'a': shadow 'b' has a shadow itself, accepted are 'c'"),
        ({"model": "c", "share": 0}, r"shadow\.share: input should be greater than 0"),
        ({"model": "c", "share": 1.5}, r"shadow\.share: input should be less than or equal to 1"),
        ({"modell": "c"}, "shadow"),
    ],
)
def test_a_shadow_that_cannot_be_is_a_sentence(shadow: dict[str, object], message: str) -> None:
    models = [
        {"name": "a", "aliases": ["first"], "shadow": shadow},
        {"name": "b", "shadow": {"model": "c"}},
        {"name": "c"},
        {"name": "best", "stages": [{"model": "a", "keep": 5}, {"model": "b"}]},
    ]
    with pytest.raises(ConfigError, match=message):
        parse_settings({"models": models})


def test_a_model_alone_has_no_shadow() -> None:
    with pytest.raises(ConfigError, match="is not served here, accepted are none of the models here"):
        parse_settings({"model": "docs-mini", "shadow": {"model": "x"}})
    assert shadows_of(parse_settings({}), {}) == {}
