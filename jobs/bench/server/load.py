"""Load on a server: closed-loop clients, which wait for each response, and open-loop clients, which do not."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count, takewhile
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import aiohttp

Body = Mapping[str, Any]

NO_ANSWER = 0  # stands for the status of a request without a response within the time limit
_TIMEOUT_S = 60.0


@dataclass
class Load:
    """What clients measured: the seconds of each response by status, the pairs ranked, and the total seconds."""

    seconds: dict[int, list[float]] = field(default_factory=dict)
    pairs: int = 0
    took_s: float = 0.0

    def add(self, status: int, seconds: float, pairs: int) -> None:
        """Record a response."""
        self.seconds.setdefault(status, []).append(seconds)
        self.pairs += pairs if status == 200 else 0

    @classmethod
    def joined(cls, loads: Sequence["Load"]) -> "Load":
        """Combine loads that were measured one after the other."""
        combined = cls(pairs=sum(load.pairs for load in loads), took_s=sum(load.took_s for load in loads))
        for load in loads:
            for status, seconds in load.seconds.items():
                combined.seconds.setdefault(status, []).extend(seconds)
        return combined

    @property
    def rate(self) -> float:
        """Pairs per second."""
        return self.pairs / self.took_s

    def statuses(self) -> Counter[int]:
        """Return the number of responses by status."""
        return Counter({status: len(seconds) for status, seconds in self.seconds.items()})

    def percentiles(self, status: int = 200) -> dict[str, float | None]:
        """Return the 50th, 95th and 99th percentile of the milliseconds of responses with this status."""
        seconds = self.seconds.get(status)
        if not seconds:
            return {"p50_ms": None, "p95_ms": None, "p99_ms": None}
        values = np.percentile(seconds, [50, 95, 99]) * 1000
        return {f"p{share}_ms": round(float(value), 1) for share, value in zip((50, 95, 99), values, strict=True)}


class Client:
    """Sends load to a server over HTTP."""

    def __init__(self, session: "aiohttp.ClientSession", url: str) -> None:
        from aiohttp import ClientError  # here, for aiohttp takes a quarter of a second that no other command needs

        self._errors = (TimeoutError, ClientError)
        self._session = session
        self._url = f"{url}/v1/rerank"

    async def send(self, body: Body, load: Load, *, since: float | None = None) -> None:
        """Send one request and record its response; its time counts from `since`, when the request was due."""
        started = time.perf_counter() if since is None else since
        try:
            async with self._session.post(self._url, json=body) as response:
                status, content = response.status, await response.read()
            if status == 200 and (results := len(json.loads(content)["results"])) != len(body["documents"]):
                raise ValueError(f"the response must have {len(body['documents'])} results, got {results}")
        except self._errors:
            status = NO_ANSWER
        load.add(status, time.perf_counter() - started, len(body["documents"]))

    async def closed(self, bodies: Sequence[Body], *, clients: int, seconds: float) -> Load:
        """Run closed-loop clients: each sends its next request when its last one is answered. Late responses count."""
        end = time.perf_counter() + seconds
        return await self._in_turn(bodies, takewhile(lambda _: time.perf_counter() < end, count()), clients)

    async def counted(self, bodies: Sequence[Body], *, clients: int, requests: int) -> Load:
        """Send a number of requests by closed-loop clients."""
        return await self._in_turn(bodies, iter(range(requests)), clients)

    async def _in_turn(self, bodies: Sequence[Body], turns: Iterator[int], clients: int) -> Load:
        load, started = Load(), time.perf_counter()

        async def loop() -> None:
            for turn in turns:
                await self.send(bodies[turn % len(bodies)], load)

        await asyncio.gather(*(loop() for _ in range(clients)))
        load.took_s = time.perf_counter() - started
        return load

    async def open(self, bodies: Sequence[Body], *, per_second: float, seconds: float) -> Load:
        """Send requests at a fixed rate, whether or not earlier ones are answered; delay in sending counts too."""
        load, started = Load(), time.perf_counter()
        tasks = []
        for turn in range(max(1, round(per_second * seconds))):
            due = started + turn / per_second
            if (wait := due - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            tasks.append(asyncio.create_task(self.send(bodies[turn % len(bodies)], load, since=due)))
        await asyncio.gather(*tasks)
        load.took_s = time.perf_counter() - started
        return load


@asynccontextmanager
async def connected(url: str, *, key: str | None = None) -> AsyncIterator[Client]:
    """Yield a client of a server, without a limit on connections: that would add a queue in the client."""
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    import aiohttp

    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, headers=headers) as session:
        yield Client(session, url)
