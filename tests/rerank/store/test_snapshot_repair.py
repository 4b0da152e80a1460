"""Snapshots that are damaged, or whose builder was killed: the next process builds them again."""

import json
import multiprocessing
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Callable
from itertools import count
from pathlib import Path

import numpy as np
import pytest

import rerank.store.buckets
from rerank.store import ScoreStore, Snapshot
from tests.rerank.store.test_store import FINGERPRINT, random_hashes, save

HASHES = random_hashes(300)
CHANGES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir"}  # audit events, beside that of opening a file to write


@pytest.fixture
def store(tmp_path) -> ScoreStore:
    return ScoreStore(str(tmp_path / "store"), FINGERPRINT)


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-8])


DAMAGE = {
    "no bucket": lambda folder: (folder / "bucket-00003").unlink(),
    "truncated bucket": lambda folder: _truncate(folder / "bucket-00002"),
    "empty bucket": lambda folder: (folder / "bucket-00000").write_bytes(b""),
    "bucket of another snapshot": lambda folder: (folder / "bucket-00001").write_bytes(bytes(24)),
    "three buckets": lambda folder: (folder / "parts.json").write_text(
        json.dumps(json.loads((folder / "parts.json").read_text()) | {"buckets": [100, 100, 100]})
    ),
    "empty parts.json": lambda folder: (folder / "parts.json").write_bytes(b""),
    "half of parts.json": lambda folder: _truncate(folder / "parts.json"),
    "parts.json without parts": lambda folder: (folder / "parts.json").write_text("{}"),
    "parts.json of something else": lambda folder: (folder / "parts.json").write_text("[1, 2]"),
    "no parts.json": lambda folder: (folder / "parts.json").unlink(),
}


def folders_in(cache: Path) -> list[Path]:
    return [path for path in (cache / FINGERPRINT).iterdir() if path.is_dir()]


def version_of(snapshot: Snapshot) -> Path:
    return Path(snapshot._lease.name).parent


def check(store: ScoreStore, cache: Path) -> None:
    """Assert that a snapshot of `cache` has all pairs of the store."""
    snapshot = Snapshot.open(store, cache)
    assert snapshot.lookup(HASHES).logits.tolist() == list(range(300))
    assert len(snapshot) == 300


def check_twice(store: ScoreStore, cache: Path) -> None:
    """Assert also that nothing is left beside a snapshot that was built after it."""
    check(store, cache)
    smaller = Snapshot.open(store, cache, parts=store.parts()[1:])
    assert folders_in(cache) == [version_of(smaller)]


@pytest.fixture
def four_buckets(monkeypatch) -> None:
    monkeypatch.setattr("rerank.store.buckets._PAIRS_PER_BUCKET", 50)


@pytest.mark.usefixtures("four_buckets")
@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_snapshot_is_built_again(store, tmp_path, kind):
    save(store, HASHES)
    Snapshot.open(store, tmp_path)
    (version,) = folders_in(tmp_path)
    DAMAGE[kind](version)
    check(store, tmp_path)


@pytest.mark.usefixtures("four_buckets")
@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_snapshot_is_not_extended(store, tmp_path, kind):
    save(store, HASHES[:200], np.arange(200))
    Snapshot.open(store, tmp_path)
    (version,) = folders_in(tmp_path)
    DAMAGE[kind](version)
    save(store, HASHES[200:], np.arange(200, 300))
    check(store, tmp_path)


def test_a_builder_may_be_killed_at_every_operation(store, tmp_path):
    """Kill it at each change of a file or folder in turn; the next builder goes on from what is left.

    It finds two older snapshots, one that a killed builder left, and a damaged one of the parts that it is to build.
    """
    cache, open_ones = tmp_path / "caches" / "0", []  # open snapshots are not deleted
    for start in (0, 100, 200):
        save(store, HASHES[start : start + 100], np.arange(start, start + 100))
        open_ones.append(Snapshot.open(store, cache))
    assert len(folders_in(cache)) == 3
    _truncate(version_of(open_ones[-1]) / "bucket-00000")
    (cache / FINGERPRINT / "_build-x").mkdir()
    (cache / FINGERPRINT / "_build-x" / "bucket-00000").write_bytes(b"half")

    spawn = multiprocessing.get_context("spawn")  # a process without threads, which may fork
    results = spawn.SimpleQueue()
    process = spawn.Process(target=_kill_everywhere, args=(store.uri, cache.parent, results))
    process.start()
    try:
        process.join(120)
        assert process.exitcode == 0
    finally:
        process.kill()
        process.join()
    operations, failed = results.get()
    assert operations > 25
    assert not failed


def _kill_everywhere(uri: str, caches: Path, results) -> None:
    """Put the number of operations on the queue, and those from which the next process does not go on."""
    import pandas  # noqa: F401  # once: PyArrow would import it in each fork

    rerank.store.buckets._PAIRS_PER_BUCKET = 100
    store, failed = ScoreStore(uri, FINGERPRINT), []
    for operation in count(1):
        cache = caches / str(operation)
        shutil.copytree(caches / "0", cache)
        ended = _in_a_fork(lambda cache=cache, operation=operation: _open_and_die(store, cache, operation))
        if ended == 0:
            break
        if ended != -signal.SIGKILL or _in_a_fork(lambda cache=cache: check_twice(store, cache)) != 0:
            failed.append(operation)
    results.put((operation - 1, failed))


def _open_and_die(store: ScoreStore, cache: Path, operation: int) -> None:
    remaining = operation

    def die(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal remaining
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if writes or event in CHANGES:
            remaining -= 1
            if not remaining:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(die)
    check(store, cache)


def _in_a_fork(action: Callable[[], None]) -> int:
    """Return the exit code of a process that does this: 0, 1 after an exception, negative if it was killed."""
    if process := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    try:
        action()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)
