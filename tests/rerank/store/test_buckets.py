"""Buckets: together they answer like one sorted array, and a lookup opens only those that it needs."""

import json
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rerank.store import ScoreStore, Snapshot
from rerank.store.buckets import bucket_count, first_hashes
from rerank.store.entries import Entries, concatenate, distinct
from rerank.store.lookup import find
from tests.rerank.store.test_store import FINGERPRINT, HASHES, as_hashes, random_hashes, save


@pytest.fixture
def snapshot(tmp_path, monkeypatch) -> Snapshot:
    """1,000 pairs in eight buckets."""
    monkeypatch.setattr("rerank.store.buckets._PAIRS_PER_BUCKET", 250)
    store = ScoreStore(str(tmp_path / "store"), FINGERPRINT)
    for rows in np.array_split(np.arange(1_000), 7):
        save(store, random_hashes(1_000)[rows], rows, rows)
    return Snapshot.open(store, tmp_path / "cache")


@settings(max_examples=30)
@given(st.lists(HASHES, min_size=1, max_size=4), HASHES, st.integers(20, 500), st.integers(20, 500), st.booleans())
def test_buckets_answer_like_one_sorted_array(tmp_path_factory, stored, asked, before, after, at_once):
    """Also if they extend buckets that were more or fewer, and if the parts were read in several batches."""
    folder = tmp_path_factory.mktemp("buckets")
    store = ScoreStore(str(folder / "store"), FINGERPRINT)
    runs = []
    for number, hashes in enumerate(stored):
        runs.append(Entries.of(as_hashes(hashes), np.full(len(hashes), number), np.arange(len(hashes))))
        store.append(as_hashes(hashes), runs[-1].logit, runs[-1].tokens)
        if number == 1:
            with patch("rerank.store.buckets._PAIRS_PER_BUCKET", before), patch("os.fsync"):
                opened = Snapshot.open(store, folder / "cache")
                assert opened.buckets.pairs == distinct(concatenate(runs)).pairs
    with (
        patch("rerank.store.buckets._PAIRS_PER_BUCKET", after),
        patch("rerank.store.build._BYTES_AT_ONCE", 1 << 20 if at_once else 1),
        patch("os.fsync"),
    ):
        snapshot = Snapshot.open(store, folder / "cache")
    entries = distinct(concatenate(runs))
    assert len(snapshot) == entries.pairs
    hashes = as_hashes(asked + [pair_hash for part in stored for pair_hash in part])
    for found, expected in zip(snapshot.lookup(hashes), find(entries, hashes), strict=True):
        assert np.array_equal(found, expected, equal_nan=found.dtype.kind == "f")


def test_a_lookup_opens_only_the_buckets_of_its_pairs(snapshot):
    assert len(snapshot.buckets) == 8 and snapshot.buckets.opened == 0
    hashes = random_hashes(1_000)
    of_two = hashes[np.isin(hashes[:, 0] >> np.uint64(61), [2, 5])]
    assert snapshot.lookup(of_two).known.all() and snapshot.buckets.opened == 2
    snapshot.lookup(random_hashes(0))
    assert snapshot.buckets.opened == 2
    assert snapshot.lookup(hashes).logits.tolist() == list(range(1_000)) and snapshot.buckets.opened == 8


def test_pairs_of_a_bucket_that_was_deleted_are_unknown(snapshot):
    (Path(snapshot._lease.name).parent / "bucket-00003").unlink()
    known = snapshot.lookup(random_hashes(1_000)).known
    assert known.tolist() == (random_hashes(1_000)[:, 0] >> np.uint64(61) != 3).tolist()


@pytest.mark.parametrize(("start", "stop"), [(0, 1), (0, 1_000), (0, 5_000), (300, 301), (990, 2_000), (113, 787)])
def test_rows_are_counted_over_all_buckets(snapshot, start, stop):
    hashes = random_hashes(1_000)
    order = np.lexsort((hashes[:, 1], hashes[:, 0]))[start:stop]
    rows = snapshot.buckets.rows(start, stop)
    assert rows.tokens.tolist() == order.tolist()
    assert np.array_equal(rows.high, hashes[order, 0])


@pytest.mark.parametrize(
    ("pairs", "count"),
    [(0, 1), (1, 1), (3_900_000, 1), (3_900_001, 2), (7_800_001, 4), (200_000_000, 64), (10_000_000_000, 4_096)],
)
def test_the_number_of_buckets_is_a_power_of_two(pairs, count):
    assert bucket_count(pairs) == count
    assert first_hashes(count).tolist() == [number * 2**64 // count for number in range(count)]


def test_a_snapshot_in_the_format_of_earlier_versions_is_replaced(tmp_path):
    store = ScoreStore(str(tmp_path / "store"), FINGERPRINT)
    save(store, random_hashes(10))
    ((name, size),) = [(part.name, part.size) for part in store.parts()]
    earlier = tmp_path / "cache" / FINGERPRINT / "name-of-these-parts"
    earlier.mkdir(parents=True)
    for column in Entries._fields:
        np.save(earlier / f"{column}.npy", np.zeros(10))
    (earlier / "parts.json").write_text(json.dumps({"pairs": 10, "parts": [[name, size]], "damaged": []}))
    assert Snapshot.open(store, tmp_path / "cache").lookup(random_hashes(10)).known.all()
    assert not earlier.exists()
