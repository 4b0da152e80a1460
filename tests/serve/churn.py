"""Clients that keep asking while replicas come and go."""

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event
from typing import Any

import httpx
import numpy as np
import pytest
from ray.serve.context import _get_global_client

NAME = "churn"
"""The application whose replicas come and go."""

PAUSE_S = 0.05  # of a client between two requests
_PATIENCE_S = 180
_POLL_S = 0.25  # each look at the replicas costs Serve's controller some milliseconds


def replicas(model: str) -> dict[int, str]:
    """Return the process ids of a model's replicas and their states; replicas without a process are missing."""
    deployments = _get_global_client().get_serve_details()["applications"][NAME]["deployments"]
    return {replica["pid"]: replica["state"] for replica in deployments[model]["replicas"] if "pid" in replica}


def running(model: str) -> set[int]:
    """Return the process ids of the replicas that answer."""
    return {pid for pid, state in replicas(model).items() if state == "RUNNING"}


def wait_for(condition: Callable[[], bool], *, seconds: float = _PATIENCE_S) -> None:
    """Wait until the condition holds. Fail the test after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} seconds"
        time.sleep(_POLL_S)


def kill(pid: int) -> None:
    """End a process without warning."""
    os.kill(pid, 9)


def scores_of(answer: httpx.Response) -> dict[int, float]:
    """Return the scores of a ranking by document; they must fall."""
    results = answer.json()["results"]
    assert np.all(np.diff([place["relevance_score"] for place in results]) <= 0)
    return {place["index"]: place["relevance_score"] for place in results}


class Answers:
    """Count the answers by status, and check each ranking against the one that was given at the start.

    If the `model_may_change`, those with other scores are kept as `changed`, with the number of their body.
    """

    def __init__(self, http: httpx.Client, bodies: list[dict[str, Any]]) -> None:
        self._http = http
        self._bodies = bodies
        self._right = [scores_of(http.post("/v1/rerank", json=body)) for body in bodies]
        self.model_may_change = False
        self.changed: list[tuple[int, dict[int, float]]] = []
        self.statuses: Counter[int] = Counter()

    def ask(self, turn: int) -> None:
        """Ask once, and check the answer."""
        row = turn % len(self._bodies)
        answer = self._http.post("/v1/rerank", json=self._bodies[row])
        self.statuses[answer.status_code] += 1
        if answer.status_code == 200:
            scores, right = scores_of(answer), pytest.approx(self._right[row], abs=1e-5)
            if self.model_may_change and scores != right:
                self.changed.append((row, scores))
            else:
                assert scores == right
        else:
            assert answer.status_code == 503 and answer.headers["retry-after"] == "1", answer.text

    def wait_for_more(self, count: int) -> None:
        """Wait until `count` more requests were answered."""
        goal = self.statuses.total() + count
        wait_for(lambda: self.statuses.total() >= goal)


@contextmanager
def asking(http: httpx.Client, bodies: list[dict[str, Any]], *, clients: int) -> Iterator[Answers]:
    """Clients that ask while the block runs; a wrong answer fails it at its end."""
    answers = Answers(http, bodies)
    with clients_asking(answers.ask, clients=clients, pause_s=PAUSE_S):
        yield answers


@contextmanager
def clients_asking(ask: Callable[[int], object], *, clients: int, pause_s: float) -> Iterator[None]:
    """Clients that call `ask` with ascending numbers while the block runs; their errors are raised at its end."""
    over = Event()

    def loop(turn: int) -> None:
        while not over.is_set():
            ask(turn)
            turn += 1
            time.sleep(pause_s)

    with ThreadPoolExecutor(clients) as pool:
        tasks = [pool.submit(loop, first) for first in range(clients)]
        try:
            yield
        finally:
            over.set()
    for task in tasks:
        task.result()
