"""Scores that were stored after a run began: the newest from memory, within a bound, the others from a snapshot."""

import numpy as np
import pytest

import rerank.store.build
import rerank.store.recent
from rerank.store import ScoreStore, look_up_recent
from rerank.store.parts import Part
from rerank.store.upkeep import compact
from tests.rerank.store.test_store import FINGERPRINT, random_hashes, save

PARTS, PAIRS = 6, 1_000
HASHES = random_hashes(PARTS * PAIRS)


@pytest.fixture
def store(tmp_path) -> ScoreStore:
    store = ScoreStore(str(tmp_path / "store"), FINGERPRINT)
    for rows in np.array_split(np.arange(len(HASHES)), PARTS):
        save(store, HASHES[rows], rows, rows)
    return store


@pytest.fixture
def reads(monkeypatch) -> dict[str, list[Part]]:
    """The parts that are read into memory, and those that are read into a snapshot."""
    reads: dict[str, list[Part]] = {"memory": [], "snapshot": []}
    for module, name in ((rerank.store.recent, "memory"), (rerank.store.build, "snapshot")):

        def recorded(folder, part, *, fingerprint, read_part=module.read_part, name=name):
            reads[name].append(part)
            return read_part(folder, part, fingerprint=fingerprint)

        monkeypatch.setattr(module, "read_part", recorded)
    return reads


@pytest.mark.parametrize("held", range(PARTS + 1))
def test_the_newest_parts_are_held_in_memory_up_to_a_bound(store, reads, tmp_path, held):
    parts = store.parts()
    most = sum(part.size for part in parts[PARTS - held :]) + 1
    recent = look_up_recent(store, after_part="", cache=tmp_path / "cache", bytes_in_memory=most)
    assert sorted(reads["memory"]) == list(parts[PARTS - held :])
    assert sorted(reads["snapshot"]) == list(parts[: PARTS - held])
    unknown = random_hashes(50, seed=1)
    found = recent(np.concatenate([HASHES, unknown]))
    assert found.logits[: len(HASHES)].tolist() == found.tokens[: len(HASHES)].tolist() == list(range(len(HASHES)))
    assert found.known.tolist() == [True] * len(HASHES) + [False] * len(unknown)
    assert np.isnan(found.logits[len(HASHES) :]).all()


def test_after_a_compaction_the_store_is_read_once_per_node_and_not_into_memory(store, reads, tmp_path):
    after_part = store.parts()[-1].name
    compact(store, pairs_per_part=2 * PAIRS)
    reads["snapshot"].clear()
    options = {"cache": tmp_path / "cache", "bytes_in_memory": 1_000}
    for _ in range(3):  # actors that start again
        assert look_up_recent(store, after_part=after_part, **options)(HASHES).logits.tolist() == list(
            range(len(HASHES))
        )
    assert reads["memory"] == []
    assert sorted(reads["snapshot"]) == list(store.parts())


def test_parts_that_the_run_has_looked_up_are_not_read(store, reads, tmp_path):
    _, *others = store.parts()
    recent = look_up_recent(store, after_part=others[0].name, cache=tmp_path / "cache", bytes_in_memory=0)
    assert sorted(reads["snapshot"]) == others[1:]
    assert recent(HASHES).known.tolist() == [False] * 2 * PAIRS + [True] * (PARTS - 2) * PAIRS
    assert look_up_recent(store, after_part=others[-1].name, cache=tmp_path / "cache") is None
