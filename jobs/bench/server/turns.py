"""Servers and the bare scorer measured in alternation, so that other load on the machine affects all of them."""

from collections.abc import Mapping, Sequence
from statistics import median
from time import perf_counter
from typing import Protocol

from jobs.bench.server.load import Body, Load
from jobs.console import say
from rerank.config import ScorerConfig
from rerank.reranker import Reranker


class Target(Protocol):
    """What is measured: a server, or the scorer without one."""

    async def send(self, body: Body, load: Load) -> None:
        """Send one request and record its response."""

    async def closed(self, bodies: Sequence[Body], *, clients: int, seconds: float) -> Load:
        """Run closed-loop clients for about `seconds`."""


class BareScorer:
    """The scorer without a server."""

    def __init__(self, config: ScorerConfig) -> None:
        """Load the model, and score once because the first call is slower."""
        self._reranker = Reranker(config)
        self._reranker.rank("warm", ["up"])

    async def send(self, body: Body, load: Load) -> None:
        """Rank the documents of one request."""
        started = perf_counter()
        self._reranker.rank(body["query"], body["documents"])
        load.add(200, perf_counter() - started, len(body["documents"]))

    async def closed(self, bodies: Sequence[Body], *, clients: int, seconds: float) -> Load:
        """Rank all requests in one call, repeatedly: its maximum rate. Single requests are not timed."""
        load, started = Load(), perf_counter()
        while load.took_s < seconds:
            self._reranker.rank_many([body["query"] for body in bodies], [body["documents"] for body in bodies])
            load.pairs += sum(len(body["documents"]) for body in bodies)
            load.took_s = perf_counter() - started
        return load


async def one_client(targets: Mapping[str, Target], bodies: Sequence[Body], *, seconds: float) -> dict[str, Load]:
    """Send each request to all targets in turn, in alternating order, for about `seconds` per target."""
    loads = {name: Load() for name in targets}
    turn = 0
    while sum(load.took_s for load in loads.values()) < seconds * len(targets):
        for name in _alternating(targets, turn):
            started = perf_counter()
            await targets[name].send(bodies[turn % len(bodies)], loads[name])
            loads[name].took_s += perf_counter() - started
        turn += 1
    return loads


def added_ms(load: Load, base: Load) -> float | None:
    """Return the median, over the requests sent to both, of the milliseconds by which `load` was slower than `base`.

    None if any response had another status than 200.
    """
    times, others = load.seconds.get(200, []), base.seconds.get(200, [])
    if not times or not len(times) == len(others) == load.statuses().total() == base.statuses().total():
        return None
    return round(median(time - other for time, other in zip(times, others, strict=True)) * 1000, 1)


async def many_clients(
    targets: Mapping[str, Target], bodies: Sequence[Body], *, clients: int, seconds: float, rounds: int
) -> dict[str, list[Load]]:
    """Measure each target for `seconds` in every round, in alternating order."""
    loads: dict[str, list[Load]] = {name: [] for name in targets}
    for turn in range(rounds):
        for name in _alternating(targets, turn):
            load = await targets[name].closed(bodies, clients=clients, seconds=seconds)
            say(f"round {turn + 1} of {rounds}, {name}: {load.rate:,.0f} pairs/s, {clients} clients")
            loads[name].append(load)
    return loads


def share_of(loads: Sequence[Load], base: Sequence[Load]) -> float:
    """Return the median over the rounds of the pairs per second divided by those of `base` in the same round."""
    return round(median(load.rate / other.rate for load, other in zip(loads, base, strict=True)), 3)


def _alternating(targets: Mapping[str, Target], turn: int) -> Sequence[str]:
    names = list(targets)
    return names[::-1] if turn % 2 else names
