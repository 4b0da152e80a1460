"""Servers and the bare scorer in turns, so that a machine which is never quiet slows all of them down alike."""

from collections.abc import Mapping, Sequence
from statistics import median
from time import perf_counter
from typing import Protocol

from jobs.bench.server.load import Body, Load
from jobs.console import say
from rerank.config import ScorerConfig
from rerank.reranker import Reranker


class Asked(Protocol):
    """What answers requests: a server, or the scorer without one."""

    async def ask(self, body: Body, load: Load) -> None:
        """Ask once and note the answer."""

    async def closed(self, bodies: Sequence[Body], *, clients: int, seconds: float) -> Load:
        """Clients that ask again as soon as they are answered, for about so long."""


class Bare:
    """The scorer without a server round it."""

    def __init__(self, config: ScorerConfig) -> None:
        """Load it, and score once: the first time is slower."""
        self._reranker = Reranker(config)
        self._reranker.rank("warm", ["up"])

    async def ask(self, body: Body, load: Load) -> None:
        """Rank the documents of one request."""
        started = perf_counter()
        self._reranker.rank(body["query"], body["documents"])
        load.add(200, perf_counter() - started, len(body["documents"]))

    async def closed(self, bodies: Sequence[Body], *, clients: int, seconds: float) -> Load:
        """All requests in one go, again and again: the most that it can do. None of them has a time of its own."""
        load, started = Load(), perf_counter()
        while load.took_s < seconds:
            self._reranker.rank_many([body["query"] for body in bodies], [body["documents"] for body in bodies])
            load.pairs += sum(len(body["documents"]) for body in bodies)
            load.took_s = perf_counter() - started
        return load


async def one_client(asked: Mapping[str, Asked], bodies: Sequence[Body], *, seconds: float) -> dict[str, Load]:
    """Each request is asked of all, one after the other, there and back, for so many seconds each."""
    loads = {name: Load() for name in asked}
    turn = 0
    while sum(load.took_s for load in loads.values()) < seconds * len(asked):
        for name in _there_and_back(asked, turn):
            started = perf_counter()
            await asked[name].ask(bodies[turn % len(bodies)], loads[name])
            loads[name].took_s += perf_counter() - started
        turn += 1
    return loads


def added_ms(load: Load, base: Load) -> float | None:
    """Milliseconds, in the median of the requests that both were asked, by which an answer came later than `base`'s.

    None where one of them was not answered with 200.
    """
    times, others = load.seconds.get(200, []), base.seconds.get(200, [])
    if not times or not len(times) == len(others) == load.statuses().total() == base.statuses().total():
        return None
    return round(median(time - other for time, other in zip(times, others, strict=True)) * 1000, 1)


async def many_clients(
    asked: Mapping[str, Asked], bodies: Sequence[Body], *, clients: int, seconds: float, rounds: int
) -> dict[str, list[Load]]:
    """A run of `seconds` of each in every round, there and back."""
    loads: dict[str, list[Load]] = {name: [] for name in asked}
    for turn in range(rounds):
        for name in _there_and_back(asked, turn):
            load = await asked[name].closed(bodies, clients=clients, seconds=seconds)
            say(f"round {turn + 1} of {rounds}, {name}: {load.rate:,.0f} pairs/s, {clients} clients")
            loads[name].append(load)
    return loads


def share_of(loads: Sequence[Load], base: Sequence[Load]) -> float:
    """Pairs a second as a share of those of `base` in the same round, in the median of the rounds."""
    return round(median(load.rate / other.rate for load, other in zip(loads, base, strict=True)), 3)


def _there_and_back(asked: Mapping[str, Asked], turn: int) -> Sequence[str]:
    names = list(asked)
    return names[::-1] if turn % 2 else names
