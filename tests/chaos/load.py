"""Clients that keep asking a server whose processes are killed, and note every answer that is not as promised."""

import time
from collections import Counter
from threading import Lock

import httpx
import pytest

TEXTS = ["Sockets are end points of a connection.", "dict.copy() returns a shallow copy.", "Threads share memory."]
BODIES = [{"query": f"copy a dictionary {row}", "documents": TEXTS[: row % 3 + 1] * (row + 1)} for row in range(5)]

_PROXY_BACK_S = 120.0
_PAUSE_OF_LOST_S = 0.5  # nobody listens while Serve starts another proxy


class Load:
    """Counts of the answers by status, and what was at fault.

    An answer is the ranking that was given before anything was killed, or a 503 or a 429 that says when to come back.
    Connections may break while Serve replaces a proxy.
    """

    def __init__(self, http: httpx.Client) -> None:
        self._http = http
        self._right = [_scores(http.post("/v1/rerank", json=body).raise_for_status()) for body in BODIES]
        self._lock = Lock()
        self._may_break_until = 0.0
        self.statuses: Counter[int | str] = Counter()
        self.faults: list[str] = []

    def expect_breaks(self) -> None:
        """Allow connections to break for the time that Serve may take to replace a proxy."""
        self._may_break_until = time.monotonic() + _PROXY_BACK_S

    def ask(self, turn: int) -> None:
        """Ask once, and check the answer."""
        try:
            answer = self._http.post("/v1/rerank", json=BODIES[turn % len(BODIES)])
        except httpx.TransportError as error:
            is_expected = time.monotonic() < self._may_break_until
            self._note("broken", None if is_expected else f"connection lost: {error!r}")
            time.sleep(_PAUSE_OF_LOST_S)
            return
        self._note(answer.status_code, self._fault_of(answer, turn))

    def answered(self) -> bool:
        """Return whether a request of its own is answered with the right ranking."""
        try:
            answer = self._http.post("/v1/rerank", json=BODIES[0])
        except httpx.TransportError:
            return False
        return answer.status_code == 200 and self._fault_of(answer, 0) is None

    def _fault_of(self, answer: httpx.Response, turn: int) -> str | None:
        if answer.status_code in (429, 503):
            return None if "retry-after" in answer.headers else f"{answer.status_code} without Retry-After"
        if answer.status_code != 200:
            return f"status {answer.status_code}: {answer.text[:300]}"
        scores, right = _scores(answer), self._right[turn % len(BODIES)]
        return None if scores == pytest.approx(right, abs=1e-5) else f"scores {scores}, right are {right}"

    def _note(self, status: int | str, fault: str | None) -> None:
        with self._lock:
            self.statuses[status] += 1
            if fault is not None:
                self.faults.append(f"{time.strftime('%H:%M:%S')} {fault}")


def _scores(answer: httpx.Response) -> dict[int, float]:
    return {place["index"]: place["relevance_score"] for place in answer.json()["results"]}
