"""Servers in turns with the bare scorer: who is asked when, and what is compared with what."""

import asyncio
from collections.abc import Sequence

import pytest

from jobs.bench.server.load import Body, Load
from jobs.bench.server.turns import BareScorer, added_ms, many_clients, one_client, share_of
from rerank.config import ScorerConfig

BODIES = [{"query": "q", "documents": ["a", "bb"]}, {"query": "q", "documents": ["ccc"]}]


class Noted:
    """Answers at once, and notes in a list that all share who was asked."""

    def __init__(self, name: str, diary: list[str]) -> None:
        self._name, self._diary = name, diary

    async def send(self, body: Body, load: Load) -> None:
        """Take a millisecond."""
        self._diary.append(f"{self._name}{len(body['documents'])}")
        await asyncio.sleep(0.001)
        load.add(200, 0.001, len(body["documents"]))

    async def closed(self, bodies: Sequence[Body], *, clients: int, seconds: float) -> Load:
        """Ten times as many pairs as clients, in ten times the seconds."""
        self._diary.append(self._name)
        return Load(pairs=clients * 10, took_s=seconds * 10)


def test_one_client_asks_the_same_of_all_there_and_back() -> None:
    diary: list[str] = []
    loads = asyncio.run(one_client({name: Noted(name, diary) for name in "abc"}, BODIES, seconds=0.01))
    assert diary[:9] == ["a2", "b2", "c2", "c1", "b1", "a1", "a2", "b2", "c2"]
    assert len(diary) == sum(load.statuses()[200] for load in loads.values())
    assert sum(load.took_s for load in loads.values()) >= 0.03
    assert loads["a"].pairs == loads["c"].pairs > 0


def test_many_clients_come_in_rounds() -> None:
    diary: list[str] = []
    targets = {name: Noted(name, diary) for name in "ab"}
    loads = asyncio.run(many_clients(targets, BODIES, clients=3, seconds=2, rounds=3))
    assert "".join(diary) == "abbaab"
    assert [load.rate for load in loads["b"]] == [1.5] * 3


def test_what_a_server_adds_is_the_median_over_the_same_requests() -> None:
    base, server = Load(), Load()
    for bare, served in [(0.1, 0.11), (0.9, 0.93), (0.5, 0.52)]:
        base.add(200, bare, 1)
        server.add(200, served, 1)
    assert added_ms(server, base) == pytest.approx(20)
    server.add(429, 0.01, 1)
    base.add(200, 0.1, 1)
    assert added_ms(server, base) is None, "which of the requests was refused is not known"
    assert added_ms(Load(), Load()) is None


def test_a_share_is_the_median_of_the_rounds() -> None:
    base, server = ([Load(pairs=pairs, took_s=2) for pairs in row] for row in ([10, 100, 10], [9, 10, 8]))
    assert share_of(server, base) == 0.8


def test_the_bare_scorer_answers_requests_and_takes_all_in_one_go(folder_of) -> None:
    bare, alone = BareScorer(ScorerConfig(model=str(folder_of("bert")), device="cpu")), Load()
    asyncio.run(bare.send(BODIES[0], alone))
    assert (alone.pairs, alone.statuses()) == (2, {200: 1})
    many = asyncio.run(bare.closed(BODIES, clients=2, seconds=0.05))
    assert many.pairs % 3 == 0 and many.took_s >= 0.05 and not many.statuses()
