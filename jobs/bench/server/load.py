"""Load on a server: clients that wait for their answer before they ask again, and clients that do not."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count, takewhile
from typing import Any

import aiohttp
import numpy as np

Body = Mapping[str, Any]

NO_ANSWER = 0  # stands for a status where there was none within the client's patience
_PATIENCE_S = 60.0


@dataclass
class Load:
    """What clients saw: seconds per answer by status, pairs ranked, and how long all of it took."""

    seconds: dict[int, list[float]] = field(default_factory=dict)
    pairs: int = 0
    took_s: float = 0.0

    def add(self, status: int, seconds: float, pairs: int) -> None:
        """Note an answer."""
        self.seconds.setdefault(status, []).append(seconds)
        self.pairs += pairs if status == 200 else 0

    @classmethod
    def joined(cls, loads: Sequence["Load"]) -> "Load":
        """Loads that came one after the other, as one."""
        whole = cls(pairs=sum(load.pairs for load in loads), took_s=sum(load.took_s for load in loads))
        for load in loads:
            for status, seconds in load.seconds.items():
                whole.seconds.setdefault(status, []).extend(seconds)
        return whole

    @property
    def rate(self) -> float:
        """Pairs a second."""
        return self.pairs / self.took_s

    def statuses(self) -> Counter[int]:
        """How many answers had which status."""
        return Counter({status: len(seconds) for status, seconds in self.seconds.items()})

    def percentiles(self, status: int = 200) -> dict[str, float | None]:
        """Milliseconds within which 50, 95 and 99 % of the answers with this status came."""
        seconds = self.seconds.get(status)
        if not seconds:
            return {"p50_ms": None, "p95_ms": None, "p99_ms": None}
        values = np.percentile(seconds, [50, 95, 99]) * 1000
        return {f"p{share}_ms": round(float(value), 1) for share, value in zip((50, 95, 99), values, strict=True)}


class Client:
    """A server under load, over HTTP."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = f"{url}/v1/rerank"

    async def ask(self, body: Body, load: Load, *, since: float | None = None) -> None:
        """Ask once and note the answer; its time counts from `since`, when it should have been asked for."""
        started = time.perf_counter() if since is None else since
        try:
            async with self._session.post(self._url, json=body) as answer:
                status, content = answer.status, await answer.read()
            if status == 200 and (results := len(json.loads(content)["results"])) != len(body["documents"]):
                raise ValueError(f"{len(body['documents'])} documents, {results} results")
        except (TimeoutError, aiohttp.ClientError):
            status = NO_ANSWER
        load.add(status, time.perf_counter() - started, len(body["documents"]))

    async def closed(self, bodies: Sequence[Body], *, clients: int, seconds: float) -> Load:
        """`clients` that each ask again as soon as they are answered; answers that come late still count."""
        end = time.perf_counter() + seconds
        return await self._in_turn(bodies, takewhile(lambda _: time.perf_counter() < end, count()), clients)

    async def counted(self, bodies: Sequence[Body], *, clients: int, requests: int) -> Load:
        """So many requests by `clients` that each ask again as soon as they are answered."""
        return await self._in_turn(bodies, iter(range(requests)), clients)

    async def _in_turn(self, bodies: Sequence[Body], turns: Iterator[int], clients: int) -> Load:
        load, started = Load(), time.perf_counter()

        async def loop() -> None:
            for turn in turns:
                await self.ask(bodies[turn % len(bodies)], load)

        await asyncio.gather(*(loop() for _ in range(clients)))
        load.took_s = time.perf_counter() - started
        return load

    async def open(self, bodies: Sequence[Body], *, per_second: float, seconds: float) -> Load:
        """Requests at fixed times, whatever became of those before; how late one is sent counts too."""
        load, started = Load(), time.perf_counter()
        asked = []
        for turn in range(max(1, round(per_second * seconds))):
            due = started + turn / per_second
            if (wait := due - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            asked.append(asyncio.create_task(self.ask(bodies[turn % len(bodies)], load, since=due)))
        await asyncio.gather(*asked)
        load.took_s = time.perf_counter() - started
        return load


@asynccontextmanager
async def connected(url: str, *, key: str | None = None) -> AsyncIterator[Client]:
    """A client of the server at this address; without a bound on connections, which would be a queue of our own."""
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    timeout = aiohttp.ClientTimeout(total=_PATIENCE_S)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, headers=headers) as session:
        yield Client(session, url)
