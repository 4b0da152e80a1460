"""Clients that ask without a pause while replicas come and go, and a replica whose engine can be lost."""

import os
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any

import httpx
import numpy as np
import pytest
from ray.serve.context import _get_global_client

from rerank.actor import RerankActor
from rerank.encoding.pairs import EncodedPairs
from rerank.engines import Engine, Scores
from rerank.errors import EngineLostError

PAUSE_S = 0.02
BREAK = "lose your engine, whoever first can make the file "


class Loseable:
    """An engine that is lost from one moment on."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.lanes = engine.lanes
        self.lost = False

    def score(self, pairs: EncodedPairs) -> Scores:
        if self.lost:
            raise EngineLostError("the device answers no more")
        return self._engine.score(pairs)

    @property
    def description(self) -> dict[str, str]:
        return self._engine.description


class Breakable(RerankActor):
    """Loses its engine when a query says so, and is the first of the replicas to read it."""

    async def rerank(self, request):
        if request.query.startswith(BREAK):
            try:
                Path(request.query.removeprefix(BREAK)).touch(exist_ok=False)
            except FileExistsError:
                return await super().rerank(request)
            self._reranker._engine = lost = Loseable(self._reranker.engine)
            lost.lost = True
        return await super().rerank(request)


def replicas(model: str) -> dict[int, str]:
    """Process ids of a model's replicas, with their state; those that have no process yet are missing."""
    deployments = _get_global_client().get_serve_details()["applications"]["default"]["deployments"]
    return {replica["pid"]: replica["state"] for replica in deployments[model]["replicas"] if "pid" in replica}


def running(model: str) -> set[int]:
    """Process ids of the replicas that answer."""
    return {pid for pid, state in replicas(model).items() if state == "RUNNING"}


def wait_for(condition: Any, *, seconds: float = 60) -> float:
    """Seconds until the condition held. Fails the test where it does not."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < seconds, "waited in vain"
        time.sleep(0.1)
    return time.monotonic() - started


def kill(pid: int) -> None:
    """The end of a process, without warning."""
    os.kill(pid, 9)


class Answers:
    """What clients were answered: counts by status, and whether each ranking was the right one."""

    def __init__(self, http: httpx.Client, bodies: list[dict[str, Any]]) -> None:
        self._http = http
        self._bodies = bodies
        self._right = [self._scores(http.post("/v1/rerank", json=body)) for body in bodies]
        self.statuses: Counter[int] = Counter()
        self.slowest_s = 0.0

    def ask(self, turn: int) -> None:
        """Ask once, and check what comes back."""
        started = time.monotonic()
        answer = self._http.post("/v1/rerank", json=self._bodies[turn % len(self._bodies)])
        self.slowest_s = max(self.slowest_s, time.monotonic() - started)
        self.statuses[answer.status_code] += 1
        if answer.status_code == 200:
            assert self._scores(answer) == pytest.approx(self._right[turn % len(self._bodies)], abs=1e-5)
        else:
            assert answer.status_code == 503 and answer.headers["retry-after"] == "1", answer.text

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
