"""Signals, sent to a process without Ray that is slow to end."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from jobs.pipeline.stop import stoppable
from rerank.store import ScoreStore
from tests.processes import started

SCRIPT = """
import sys, time
from jobs.exits import exit_codes
from jobs.pipeline import stop
from jobs.pipeline.stop import stoppable
from rerank.store import ScoreStore
stop._COUNT_S = 20  # a busy machine takes its time
with exit_codes(), stoppable() as state:
    state.scoring = sys.argv[1] != "not yet"
    state.stores = [ScoreStore(sys.argv[1], "model")] if sys.argv[1] else []
    try:
        print("ready", flush=True)
        time.sleep(60)
    finally:
        time.sleep(float(sys.argv[2]))
"""


def stop(number: signal.Signals, scores: str, *, slow: float = 0.0) -> tuple[int, str, float]:
    """Exit code, what it said, and the seconds it took."""
    command = [sys.executable, "-c", SCRIPT, scores, str(slow)]
    with started(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        sent = time.monotonic()
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    return process.returncode, said, time.monotonic() - sent


@pytest.fixture
def scores(tmp_path: Path) -> str:
    keys = np.arange(2468, dtype=np.uint64).reshape(-1, 2)
    ScoreStore(str(tmp_path), "model").append(keys, np.ones(1234), np.ones(1234))
    return str(tmp_path)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_says_what_is_kept(scores: str, number: signal.Signals, code: int) -> None:
    assert stop(number, scores)[:2] == (
        code,
        "\nrerank: stopped; 1,234 pairs are in the score store, start again to go on\n",
    )


def test_what_does_not_end_in_time_is_ended(scores: str) -> None:
    code, said, took = stop(signal.SIGTERM, scores, slow=30)
    assert code == 143
    assert "1,234 pairs" in said
    assert 1 < took < 10


def test_without_a_store_it_says_so() -> None:
    assert stop(signal.SIGTERM, "")[1] == "\nrerank: stopped; nothing is kept without a score store, start again\n"


def test_before_anything_is_scored_it_says_so_and_ends_at_once() -> None:
    code, said, took = stop(signal.SIGTERM, "not yet", slow=30)
    assert (code, said) == (143, "\nrerank: stopped; nothing was scored yet, start again\n")
    assert took < 10


def test_while_ray_starts_its_own_handler_is_understood() -> None:
    ended: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jobs.pipeline.stop.os._exit", ended.append)
        patch.setattr("jobs.pipeline.stop._say", lambda _: ended.append(0))
        with stoppable():
            sys.exit(signal.SIGTERM)
    assert ended == [0, 143]
