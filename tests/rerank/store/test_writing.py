"""Appending: from many processes at once; what was killed half-way leaves whole parts; a failure is told."""

import multiprocessing
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from rerank.errors import OutputError
from rerank.store import ScoreStore, Snapshot
from tests.rerank.store.test_store import FINGERPRINT, random_hashes, save

ROOT = Path(__file__).parents[3]


@pytest.fixture
def store(tmp_path) -> ScoreStore:
    return ScoreStore(str(tmp_path / "store"), FINGERPRINT)


def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "store").write_text("a file where the folder should be")
    store = ScoreStore(str(tmp_path / "store"), FINGERPRINT)
    with pytest.raises(OutputError, match="store: cannot write to the score store"):
        save(store, random_hashes(3))
    with pytest.raises(OutputError, match="store: cannot write to the score store"):
        store.describe({"name": "tiny"})


def _append_many(uri: str, seed: int) -> None:
    for block in np.array_split(random_hashes(4_000, seed=seed), 40):
        save(ScoreStore(uri, FINGERPRINT), block)


def test_many_writers_at_once(store, tmp_path):
    spawn = multiprocessing.get_context("spawn")
    processes = [spawn.Process(target=_append_many, args=(store.uri, seed)) for seed in range(4)]
    for process in processes:
        process.start()
    try:
        for process in processes:
            process.join(60)
        assert [process.exitcode for process in processes] == [0] * 4
    finally:
        for process in processes:
            process.kill()
    snapshot = Snapshot.open(store, tmp_path / "cache")
    assert len(snapshot) == 16_000 and not snapshot.damaged
    assert len(store.parts()) == 4 * 40
    for seed in range(4):
        assert snapshot.lookup(random_hashes(4_000, seed=seed)).known.all()


MOST_PARTS = 100  # of 5 MB each: the writer ends by itself if nobody kills it
KILLED = f"""
import sys, numpy as np
from rerank.store import ScoreStore
store = ScoreStore(sys.argv[1], "{FINGERPRINT}")
rng = np.random.default_rng()
for _ in range({MOST_PARTS}):
    hashes = rng.integers(0, 2**64 - 1, (100_000, 2), dtype=np.uint64)
    store.append(hashes, np.zeros(100_000, dtype=np.float32), np.ones(100_000, dtype=np.int32))
"""


def test_a_killed_writer_leaves_whole_parts(store, tmp_path, start_process):
    for _ in range(4):
        process = start_process([sys.executable, "-c", KILLED, store.uri], cwd=ROOT)
        before = len(store.parts())
        deadline = time.monotonic() + 60
        while len(store.parts()) < before + 2 and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.001)
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    snapshot = Snapshot.open(store, tmp_path / "cache")
    assert not snapshot.damaged
    assert len(snapshot.parts) == len(store.parts()) >= 8
    assert len(snapshot) == 100_000 * len(snapshot.parts)
