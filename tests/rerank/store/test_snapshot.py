"""Snapshots: built once per node, from what is new; damage is reported; a compaction loses nobody anything."""

import multiprocessing
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import rerank.store.build
import rerank.store.snapshot
from rerank.errors import OutputError
from rerank.store import ScoreStore, Snapshot
from rerank.store.parts import write_part
from rerank.store.upkeep import compact, content
from tests.rerank.store.test_store import FINGERPRINT, random_hashes, save


@pytest.fixture
def store(tmp_path) -> ScoreStore:
    return ScoreStore(str(tmp_path / "store"), FINGERPRINT)


@pytest.fixture
def reads(monkeypatch) -> list[str]:
    """The parts that are read."""
    names: list[str] = []
    read_part = rerank.store.build.read_part

    def recorded(folder, part, *, fingerprint):
        names.append(part.name)
        return read_part(folder, part, fingerprint=fingerprint)

    monkeypatch.setattr(rerank.store.build, "read_part", recorded)
    return names


def part_file(store: ScoreStore, place: int) -> Path:
    return Path(store.folder.path) / store.parts()[place].name


def test_only_new_parts_are_read(store, tmp_path, reads):
    save(store, random_hashes(10))
    save(store, random_hashes(10, seed=1))
    Snapshot.open(store, tmp_path)
    Snapshot.open(store, tmp_path)
    assert len(reads) == 2
    save(store, random_hashes(10, seed=2))
    snapshot = Snapshot.open(store, tmp_path)
    assert len(reads) == 3 and len(snapshot) == 30


def test_a_run_sees_the_parts_it_began_with(store, tmp_path, reads):
    save(store, random_hashes(10))
    parts = store.parts()
    save(store, random_hashes(10, seed=1))
    assert len(Snapshot.open(store, tmp_path, parts=parts)) == 10
    assert len(Snapshot.open(store, tmp_path)) == 20
    assert len(reads) == 2


def test_of_equal_hashes_the_first_that_was_written_stays(store, tmp_path):
    hashes = random_hashes(3)
    save(store, hashes, np.full(3, 1, dtype=np.float32))
    Snapshot.open(store, tmp_path)
    save(store, hashes, np.full(3, 2, dtype=np.float32))
    assert Snapshot.open(store, tmp_path).lookup(hashes).logits.tolist() == [1, 1, 1]


def test_old_snapshots_go_once_nobody_reads_them(store, tmp_path):
    def versions() -> int:
        return len(list((tmp_path / FINGERPRINT).glob("*/parts.json")))

    save(store, random_hashes(10))
    first = Snapshot.open(store, tmp_path)
    save(store, random_hashes(10, seed=1))
    Snapshot.open(store, tmp_path)
    assert versions() == 2
    assert first.lookup(random_hashes(10)).known.all()
    del first
    save(store, random_hashes(10, seed=2))
    Snapshot.open(store, tmp_path)
    assert versions() == 1


def test_what_a_killed_builder_left_is_cleared_away(store, tmp_path):
    abandoned = tmp_path / FINGERPRINT / "_build-x"
    abandoned.mkdir(parents=True)
    (abandoned / "bucket-00000").write_bytes(b"half")
    save(store, random_hashes(10))
    assert len(Snapshot.open(store, tmp_path)) == 10
    assert not abandoned.exists()


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _unsort(path: Path) -> None:
    table = pq.read_table(path)
    pq.write_table(table.take(pa.array(np.arange(table.num_rows)[::-1])), path)


DAMAGE = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-40]),
    "empty": lambda path: path.write_bytes(b""),
    "garbage": lambda path: path.write_bytes(b"PAR1" + b"garbage" * 1000 + b"PAR1"),
    "one bit": _flip,
    "other columns": lambda path: pq.write_table(pa.table({"a": [1]}), path),
    "not sorted": _unsort,
    "other model": lambda path: pq.write_table(pq.read_table(path).replace_schema_metadata({}), path),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_part_is_reported_and_the_rest_is_used(store, tmp_path, kind):
    hashes = random_hashes(3_000)
    for block in np.array_split(hashes, 3):
        save(store, block)
    DAMAGE[kind](part_file(store, 1))
    for _ in range(2):  # built, then found built
        snapshot = Snapshot.open(store, tmp_path)
        assert snapshot.lookup(hashes).known.tolist() == [True] * 1_000 + [False] * 1_000 + [True] * 1_000
        ((path, reason),) = snapshot.damaged
        assert path == str(part_file(store, 1)) and reason
    assert len(snapshot.parts) == 2


def test_a_damaged_part_that_recovers_is_read(store, tmp_path):
    hashes = random_hashes(2_000)
    for block in np.array_split(hashes, 2):
        save(store, block)
    whole = part_file(store, 0).read_bytes()
    part_file(store, 0).write_bytes(whole[:100])
    assert len(Snapshot.open(store, tmp_path)) == 1_000
    part_file(store, 0).write_bytes(whole)
    snapshot = Snapshot.open(store, tmp_path)
    assert len(snapshot) == 2_000 and not snapshot.damaged


def _open_and_count(uri: str, cache: str, results) -> None:
    builds = []
    build = rerank.store.snapshot.build
    rerank.store.snapshot.build = lambda *args, **options: builds.append(1) or build(*args, **options)
    snapshot = Snapshot.open(ScoreStore(uri, FINGERPRINT), cache)
    results.put((len(builds), len(snapshot), int(snapshot.lookup(random_hashes(1_000)).known.sum())))


def test_processes_that_come_together_build_once(store, tmp_path):
    for seed in range(20):
        save(store, random_hashes(1_000, seed=seed))
    spawn = multiprocessing.get_context("spawn")
    results = spawn.Queue()
    processes = [
        spawn.Process(target=_open_and_count, args=(store.uri, str(tmp_path / "cache"), results)) for _ in range(4)
    ]
    for process in processes:
        process.start()
    found = [results.get(timeout=60) for _ in processes]
    for process in processes:
        process.join()
    assert sorted(builds for builds, _, _ in found) == [0, 0, 0, 1]
    assert {(pairs, known) for _, pairs, known in found} == {(20_000, 1_000)}


def test_compaction_keeps_every_pair_once(store, tmp_path):
    hashes = random_hashes(10_000)
    for block in np.array_split(hashes, 10):
        save(store, block)
    save(store, hashes[:500])
    result = compact(store, pairs_per_part=4_000)
    assert (result.pairs, result.parts_before, result.parts_after) == (10_000, 11, 3)
    assert Snapshot.open(store, tmp_path / "cache").lookup(hashes).known.all()
    assert content(store).pairs == 10_000
    again = compact(store, pairs_per_part=4_000)
    assert (again.parts_before, again.parts_after) == (3, 3)


def test_compaction_leaves_damaged_parts_alone(store):
    for seed in range(4):
        save(store, random_hashes(1_000, seed=seed))
    _flip(part_file(store, 2))
    broken = part_file(store, 2)
    result = compact(store)
    assert (result.pairs, result.parts_after) == (3_000, 2)
    assert broken.exists() and result.damaged[0].path == str(broken)


def test_compaction_killed_before_it_deletes_loses_nothing(store, tmp_path, monkeypatch):
    hashes = random_hashes(1_000)
    for block in np.array_split(hashes, 4):
        save(store, block)

    def full(folder, entries, *, fingerprint):
        if len(store.parts()) == 6:
            raise OSError("no space left on device")
        write_part(folder, entries, fingerprint=fingerprint)

    monkeypatch.setattr("rerank.store.store.write_part", full)
    with pytest.raises(OutputError, match="no space left"):
        compact(store, pairs_per_part=334)
    assert Snapshot.open(store, tmp_path / "cache").lookup(hashes).known.all()


def test_a_run_that_began_before_a_compaction_finds_its_pairs(store, tmp_path):
    hashes = random_hashes(1_000)
    for block in np.array_split(hashes, 4):
        save(store, block)
    parts = store.parts()
    compact(store)
    assert Snapshot.open(store, tmp_path / "cache", parts=parts).lookup(hashes).known.all()


def test_readers_lose_nothing_while_parts_are_compacted(store, tmp_path):
    hashes = random_hashes(2_000)
    save(store, hashes)
    stop = threading.Event()
    problems: list[object] = []

    def churn() -> None:
        try:
            for seed in range(1, 40):
                save(store, random_hashes(50, seed=seed))
                if seed % 2:
                    compact(store)
        except Exception as problem:
            problems.append(problem)
        finally:
            stop.set()

    thread = threading.Thread(target=churn)
    thread.start()
    opened = 0
    while not stop.is_set() or not opened:
        snapshot = Snapshot.open(store, tmp_path / f"cache{opened % 3}")
        assert snapshot.lookup(hashes).known.all()
        opened += 1
    thread.join()
    assert not problems
    assert len(Snapshot.open(store, tmp_path / "last")) == 2_000 + 39 * 50
