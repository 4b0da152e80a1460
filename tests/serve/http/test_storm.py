"""Thousands of bad requests at once while the keys file breaks and heals: never a 500, and the metrics count them all.

`pytest tests/serve/http/test_storm.py --storm 10000 -s` sends ten thousand; it prints the longest pause of the event
loop and the growth of memory.
"""

import asyncio
import json
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest
from starlette.types import ASGIApp

from rerank.errors import DeadlineError, OverloadedError, UnavailableError
from rerank.types import RerankRequest, RerankResult
from serve.http.api import create_api
from serve.http.endpoint import Server
from serve.http.limits import Limits
from serve.keys import ApiKeys
from serve.models import Models
from tests.serve.asgi import upload
from tests.serve.bodies import SIE
from tests.serve.standins import LengthScorer
from tests.serve.storm import Sent, drawn
from tests.serve.test_keys import BROKEN, make_here

CLIENTS = 32
STATUSES = {200, 400, 401, 404, 405, 408, 413, 422, 429, 499, 503, 504}
LONGEST_PAUSE_S = 0.5  # of the event loop, in CPU time: what other processes take does not count
MOST_GROWTH = 300 * 2**20  # bytes


class Moody(LengthScorer):
    """A model that is full, gone or late for three requests of forty."""

    turn = 0

    async def rerank(self, request: RerankRequest) -> RerankResult:
        self.turn += 1
        if (mood := self.turn % 40) < 3:
            raise (OverloadedError("full"), UnavailableError("gone"), DeadlineError("late"))[mood]
        self.asked.clear()
        return await super().rerank(request)


class KeysFile:
    """A keys file with the key of `me`, in every broken state in turn; the key of `gone` was deleted from it."""

    def __init__(self, file: Path) -> None:
        self.mine, self.gone = make_here(file, "me"), make_here(file, "gone")
        self.valid = next(line for line in file.read_bytes().splitlines(keepends=True) if line.startswith(b"me"))
        self._file = file
        self._states = self._next_state()

    def change(self) -> None:
        """Bring the file into its next state."""
        next(self._states)

    def _next_state(self) -> Iterator[None]:
        while True:
            for broken in BROKEN.values():
                self._file.write_bytes(self.valid + broken + b"\n")
                yield
                self._file.unlink()
                yield
                self._file.write_bytes(self.valid)
                yield
                self._file.write_bytes(broken)
                yield
                self._file.write_bytes(self.valid)
                yield


async def longest_pause(over: asyncio.Event) -> float:
    """Return the most CPU seconds that this thread took between two turns of the event loop."""
    longest, last = 0.0, time.thread_time()
    while not over.is_set():
        await asyncio.sleep(0)
        now = time.thread_time()
        longest, last = max(longest, now - last), now
    return longest


async def storm(api: ASGIApp, keys: KeysFile, requests: int, check: Callable[[Sent, int, bytes], None]) -> float:
    """Send so many requests by concurrent clients; return the longest pause of the event loop."""
    rng, turns, over = Random(requests), iter(range(requests)), asyncio.Event()

    async def client() -> None:
        for turn in turns:
            if turn % 10 == 0:
                keys.change()
            sent = drawn(rng, [*[keys.mine] * 5, keys.gone])
            answer = await upload(
                api, sent.path, sent.body(), method=sent.method, headers=sent.headers, leaves=sent.leaves
            )
            check(sent, answer[0], answer[2])

    watching = asyncio.create_task(longest_pause(over))
    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    over.set()
    return await watching


def test_whatever_comes_it_is_ranked_or_refused(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    requests = request.config.getoption("--storm")
    keys = KeysFile(tmp_path / "keys")
    limits = Limits(body_bytes=2**20, documents=500, text_characters=50_000, timeout_s=5)
    api_keys = ApiKeys(tmp_path / "keys")
    server = Server(Models({"length": Moody()}, {"short": "length"}), limits, api_keys)
    seen: Counter[int] = Counter()
    keys.change()

    def check(sent: Sent, status: int, body: bytes) -> None:
        assert status in STATUSES, (sent, body[:500])
        if sent.headers.get("Authorization") == f"Bearer {keys.gone}" and sent.method == "POST":
            assert status == 401, "a deleted key was accepted"
        if status >= 400 and status != 499 and not sent.path.startswith(SIE):
            assert json.loads(body)["message"]
        if sent.method == "POST":
            seen[status] += 1

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    pause_s = asyncio.run(storm(create_api(server), keys, requests, check))
    growth = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
    sys.stdout.write(f"\n{requests} requests: {dict(sorted(seen.items()))}\n")
    sys.stdout.write(f"longest pause {pause_s:.3f} s, {growth / 2**20:.0f} MiB more memory\n")
    assert pause_s < LONGEST_PAUSE_S and growth < MOST_GROWTH
    assert {200, 400, 401, 404, 408, 413, 499} <= set(seen)
    assert counted(server) == seen


def counted(server: Server) -> Counter[int]:
    """The requests in the metrics, by status."""
    counts: Counter[int] = Counter()
    for line in server.local.text().decode().splitlines():
        if line.startswith("rerank_requests_total"):
            counts[int(line.partition('status="')[2][:3])] += int(float(line.rpartition(" ")[2]))
    return counts
