"""Kill something every few seconds while jobs run one after another and clients ask, then look at what is left."""

import json
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

import httpx

from tests.chaos.load import Load
from tests.chaos.place import KINDS, Place, running_place
from tests.jobs.pipeline.test_faults import PAIRS, ROWS, expected
from tests.jobs.processes import Job
from tests.serve.churn import clients_asking

_GO_ON = "start again to go on"
_MOST_STARTS = 5  # of one job, which says by this sentence that it may be started again
_CLIENTS = 2
_PAUSE_S = 0.1  # of a client between two requests
_PAUSES_S = (1.0, 4.0)  # between two kills
_RECOVERY_S = 240.0
_JOB_S = 40.0  # at most, without kills


@dataclass
class Outcome:
    """What happened: the kills by kind, the jobs that ended, the answers by status, and every fault."""

    say: Callable[[str], None]
    began: float = field(default_factory=time.monotonic)
    kills: Counter[str] = field(default_factory=Counter)
    jobs: int = 0
    restarts: int = 0
    statuses: Counter[int | str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def note(self, event: str) -> None:
        """Say what happens, with the seconds since the beginning."""
        self.say(f"{time.monotonic() - self.began:6.1f} s {event}")


def wreak(seconds: float, seed: int, folder: Path, say: Callable[[str], None]) -> Outcome:
    """Kill at random for so many seconds, wait until the last job has ended and the server is well, and return all."""
    outcome, over = Outcome(say), Event()
    client = httpx.Client(headers={"Authorization": "Bearer secret"}, timeout=150)
    with running_place() as place, client as http, ThreadPoolExecutor(1) as pool:
        http.base_url = place.url
        load = Load(http)
        jobs = Jobs(place, folder, seconds, outcome)
        with clients_asking(load.ask, clients=_CLIENTS, pause_s=_PAUSE_S):
            running = pool.submit(jobs.run_until, over)
            try:
                jobs.wait_for_scores(running)
                outcome.note("the first job scores")
                _kill(place, load, random.Random(seed), seconds, running, outcome)
            except BaseException:
                jobs.stop()
                raise
            finally:
                over.set()
            running.result()
            wait_for(load.answered, "the server gives right answers")
        outcome.statuses = load.statuses
        outcome.faults += load.faults
    return outcome


def _kill(place: Place, load: Load, rng: random.Random, seconds: float, jobs: Future[None], outcome: Outcome) -> None:
    """Kill one thing after another for so many seconds, or until the jobs end early, which they do by a fault."""
    until = time.monotonic() + seconds
    for kind in _kinds(rng):
        time.sleep(min(rng.uniform(*_PAUSES_S), max(0.0, until - time.monotonic())))
        if time.monotonic() >= until or jobs.done():
            return
        if kind == "proxy":
            load.expect_breaks()
        victim = place.kill(kind, rng)
        if victim is None:
            outcome.note(f"nothing to kill: no {kind} runs")
            continue
        outcome.kills[kind] += 1
        outcome.note(f"killed {victim}")


def _kinds(rng: random.Random) -> Iterator[str]:
    """Yield all kinds of victims in random order, again and again: none is left out by chance."""
    while True:
        yield from rng.sample(KINDS, len(KINDS))


class Jobs:
    """Jobs that run one after another, each compared with one that nothing happens to."""

    def __init__(self, place: Place, folder: Path, seconds: float, outcome: Outcome) -> None:
        self._place, self._folder, self._outcome = place, folder, outcome
        self._seconds_per_pair = 2 * min(seconds, _JOB_S) / PAIRS  # two actors share the pairs
        self._right = expected(ROWS)
        self._job = self._next_job()

    def wait_for_scores(self, running: Future[None]) -> None:
        """Wait until the first job scores, or has ended by a fault."""
        wait_for(lambda: running.done() or (self._job.log.exists() and self._job.scored() > 0), "the first job scores")

    def stop(self) -> None:
        """Kill the job that runs, so that nobody waits for it."""
        if hasattr(self._job, "process"):
            self._job.process.kill()

    def run_until(self, over: Event) -> None:
        """Run jobs until it is over, or one is at fault. The last one runs to its end."""
        while not over.is_set() and not self._outcome.faults:
            summary = self._finish(self._job)
            if summary is None:
                return
            self._compare(self._job, summary)
            self._job = self._next_job()

    def _next_job(self) -> Job:
        folder = self._folder / f"job-{self._outcome.jobs}"
        folder.mkdir()
        options = {"seconds_per_pair": self._seconds_per_pair, "block_pairs": 20}
        return Job(folder, ROWS, address=self._place.address, **options)

    def _finish(self, job: Job) -> dict[str, Any] | None:
        """Run a job to its end, and start it again where it says that it goes on; None if it failed: a fault."""
        for _ in range(_MOST_STARTS):
            with job:
                out, err = job.process.communicate(timeout=5 * _RECOVERY_S)
            if job.process.returncode == 0:
                summary: dict[str, Any] = json.loads(out)
                return summary
            if job.process.returncode != 1 or _GO_ON not in err or "Traceback" in err:
                break
            self._outcome.restarts += 1
            self._outcome.note(f"the job is started again: {err.strip().splitlines()[-1]}")
        self._outcome.faults.append(f"a job ended with exit code {job.process.returncode}: {err[-3000:]}")
        return None

    def _compare(self, job: Job, summary: dict[str, Any]) -> None:
        ranked = job.ranked()
        self._outcome.jobs += 1
        if summary["pairs_ranked"] != PAIRS or not ranked.equals(self._right):
            self._outcome.faults.append(f"a job ranked {ranked.num_rows} of {PAIRS} pairs, or not as without kills")
        self._outcome.note(f"job {self._outcome.jobs} ended: {summary['pairs_ranked']:,} pairs are ranked")


def wait_for(condition: Callable[[], bool], what: str) -> None:
    """Wait until something holds. Raises TimeoutError that says what does not."""
    deadline = time.monotonic() + _RECOVERY_S
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {_RECOVERY_S:g} seconds: {what}")
        time.sleep(0.25)
