"""Clients that keep asking while replicas come and go, and replicas whose engine can be lost."""

import os
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event
from typing import Any

import httpx
import numpy as np
import pytest
from ray.serve.context import _get_global_client

from rerank.actor import RerankActor
from rerank.config import ScorerConfig
from rerank.encoding.pairs import EncodedPairs
from rerank.engines import Scores
from rerank.errors import EngineLostError

PAUSE_S = 0.05  # of a client between two requests
BATCH_S = 0.05
BREAK = "lose your engine, whoever first can make the file "


class Loseable:
    """An engine that starts at once, takes a while for each batch, and can be lost."""

    lanes = None

    def __init__(self) -> None:
        self.description = {"engine": "loseable"}
        self.is_lost = False

    def score(self, pairs: EncodedPairs) -> Scores:
        """Compute logits from the token ids alone."""
        if self.is_lost:
            raise EngineLostError("the device answers no more")
        time.sleep(BATCH_S)
        ids, _, offsets = pairs.join(np.arange(len(pairs)))
        sums = np.add.reduceat(ids.astype(np.int64), offsets[:-1])
        return Scores((sums % 997 / 100 - 5).astype(np.float32), len(ids))


class Breakable(RerankActor):
    """Loses its engine when a query says so, if it is the first of the replicas to read that query."""

    def __init__(self, config: ScorerConfig, **options: Any) -> None:
        super().__init__(config, engine=Loseable(), **options)

    async def rerank(self, request):
        if request.query.startswith(BREAK):
            with suppress(FileExistsError):
                Path(request.query.removeprefix(BREAK)).touch(exist_ok=False)
                self._reranker.engine.is_lost = True
        return await super().rerank(request)


def replicas(model: str) -> dict[int, str]:
    """Return the process ids of a model's replicas and their states; replicas without a process are missing."""
    deployments = _get_global_client().get_serve_details()["applications"]["default"]["deployments"]
    return {replica["pid"]: replica["state"] for replica in deployments[model]["replicas"] if "pid" in replica}


def running(model: str) -> set[int]:
    """Return the process ids of the replicas that answer."""
    return {pid for pid, state in replicas(model).items() if state == "RUNNING"}


def wait_for(condition: Any, *, seconds: float = 60) -> float:
    """Wait until the condition holds, and return the seconds that took. Fail the test after `seconds`."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < seconds, f"not within {seconds} seconds"
        time.sleep(0.1)
    return time.monotonic() - started


def kill(pid: int) -> None:
    """End a process without warning."""
    os.kill(pid, 9)


class Answers:
    """Count the answers by status, and check each ranking against the one that was given at the start."""

    def __init__(self, http: httpx.Client, bodies: list[dict[str, Any]]) -> None:
        self._http = http
        self._bodies = bodies
        self._right = [self._scores(http.post("/v1/rerank", json=body)) for body in bodies]
        self.statuses: Counter[int] = Counter()
        self.slowest_s = 0.0

    def ask(self, turn: int) -> None:
        """Ask once, and check the answer."""
        started = time.monotonic()
        answer = self._http.post("/v1/rerank", json=self._bodies[turn % len(self._bodies)])
        self.slowest_s = max(self.slowest_s, time.monotonic() - started)
        self.statuses[answer.status_code] += 1
        if answer.status_code == 200:
            assert self._scores(answer) == pytest.approx(self._right[turn % len(self._bodies)], abs=1e-5)
        else:
            assert answer.status_code == 503 and answer.headers["retry-after"] == "1", answer.text

    def wait_for_more(self, count: int) -> None:
        """Wait until `count` more requests were answered."""
        goal = self.statuses.total() + count
        wait_for(lambda: self.statuses.total() >= goal)

    @staticmethod
    def _scores(answer: httpx.Response) -> dict[int, float]:
        results = answer.json()["results"]
        assert np.all(np.diff([place["relevance_score"] for place in results]) <= 0)
        return {place["index"]: place["relevance_score"] for place in results}


@contextmanager
def asking(http: httpx.Client, bodies: list[dict[str, Any]], *, clients: int) -> Iterator[Answers]:
    """Clients that ask while the block runs; a wrong answer fails it at its end."""
    answers, over = Answers(http, bodies), Event()

    def loop(turn: int) -> None:
        while not over.is_set():
            answers.ask(turn)
            turn += 1
            time.sleep(PAUSE_S)

    with ThreadPoolExecutor(clients) as pool:
        tasks = [pool.submit(loop, first) for first in range(clients)]
        try:
            yield answers
        finally:
            over.set()
    for task in tasks:
        task.result()
