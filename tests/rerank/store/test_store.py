"""Writing and looking up: what goes in comes out, through any URI."""

import pickle

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rerank.errors import InputError
from rerank.store import ScoreStore, Snapshot, open_stores
from rerank.store.entries import Entries, concatenate, distinct, merge

FINGERPRINT = "f" * 32
# Few high halves, so that many keys collide in them; the edges of the types among them.
HALVES = st.sampled_from([0, 1, 2**63 - 1, 2**63, 2**64 - 1])
KEYS = st.lists(st.tuples(HALVES, st.integers(0, 3) | HALVES), max_size=40)


def as_keys(keys) -> np.ndarray:
    return np.array(keys, dtype=np.uint64).reshape(-1, 2)


def random_keys(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2**64 - 1, (count, 2), dtype=np.uint64)


def save(store: ScoreStore, keys: np.ndarray, logits=None, tokens=None) -> None:
    """One part; without values the logits and tokens are the numbers of the pairs."""
    numbers = np.arange(len(keys))
    store.append(
        keys,
        (numbers if logits is None else logits).astype(np.float32),
        (numbers if tokens is None else tokens).astype(np.int32),
    )


@pytest.fixture
def store(tmp_path) -> ScoreStore:
    return ScoreStore(str(tmp_path / "store"), FINGERPRINT)


@settings(deadline=None)
@given(KEYS, KEYS, st.integers(1, 5))
def test_lookup_is_a_dictionary(tmp_path_factory, stored, asked, cuts):
    folder = tmp_path_factory.mktemp("lookup")
    store = ScoreStore(str(folder / "store"), FINGERPRINT)
    expected: dict[tuple[int, int], int] = {}
    for number, key in enumerate(stored):
        expected.setdefault(key, number)
    numbers = np.arange(len(stored))
    for rows in np.array_split(numbers, cuts):
        save(store, as_keys(stored)[rows], numbers[rows].astype(np.float32) / 2, numbers[rows].astype(np.int32))
    snapshot = Snapshot.open(store, folder / "cache")
    assert len(snapshot) == len(expected)
    asked = asked + stored
    found = snapshot.lookup(as_keys(asked))
    assert found.known.tolist() == [key in expected for key in asked]
    assert found.tokens.tolist() == [expected.get(key, 0) for key in asked]
    assert np.array_equal(found.logits, [expected.get(key, np.nan) / 2 for key in asked], equal_nan=True)


@settings(deadline=None)
@given(st.lists(KEYS, max_size=6), st.integers(1, 50))
def test_merging_in_ranges_is_sorting_at_once(keys, pairs_per_range):
    runs = [
        distinct(Entries.of(as_keys(run), np.full(len(run), number), np.arange(len(run))))
        for number, run in enumerate(keys)
    ]
    pieces = list(merge(runs, pairs_per_range=pairs_per_range))
    expected = {}
    for run in runs:
        for high, low, logit, tokens in zip(*(column.tolist() for column in run), strict=True):
            expected.setdefault((high, low), (logit, tokens))
    merged = [] if not pieces else list(zip(*(column.tolist() for column in concatenate(pieces)), strict=True))
    assert merged == [(*key, *value) for key, value in sorted(expected.items())]


def test_an_empty_store_knows_nothing(store, tmp_path):
    snapshot = Snapshot.open(store, tmp_path / "cache")
    assert len(snapshot) == 0 and not snapshot.damaged
    assert not snapshot.lookup(random_keys(3)).known.any()
    assert snapshot.lookup(random_keys(0)).logits.shape == (0,)


def test_the_edges_of_the_types_survive(store, tmp_path):
    keys = as_keys([(0, 0), (2**64 - 1, 2**64 - 1), (2**63, 2**63 - 1)])
    logits = np.array([-3.4e38, 1e-45, 17.25], dtype=np.float32)
    save(store, keys, logits, np.array([0, 2**31 - 1, 8192]))
    found = Snapshot.open(store, tmp_path / "cache").lookup(keys)
    assert np.array_equal(found.logits, logits)
    assert found.tokens.tolist() == [0, 2**31 - 1, 8192] and found.tokens.dtype == np.int32


@pytest.mark.parametrize("uri", ["{}/store", "file://{}/store", "{}/with space/store"])
def test_any_uri_will_do(tmp_path, uri):
    store = ScoreStore(uri.format(tmp_path), FINGERPRINT)
    keys = random_keys(100)
    save(store, keys)
    store.describe({"name": "tiny", "max_length": 96})
    assert Snapshot.open(store, tmp_path / "cache").lookup(keys).known.all()
    (found,) = open_stores(uri.format(tmp_path))
    assert found.fingerprint == FINGERPRINT
    assert found.description() == {"name": "tiny", "max_length": 96}


def test_what_is_not_finite_is_tried_again_next_time(store, tmp_path):
    keys = random_keys(5)
    save(store, keys, np.array([1, np.nan, -np.inf, np.inf, 2]))
    snapshot = Snapshot.open(store, tmp_path / "cache")
    assert snapshot.lookup(keys).known.tolist() == [True, False, False, False, True]


def test_nothing_to_remember_makes_no_part(store):
    save(store, random_keys(0))
    save(store, random_keys(2), np.array([np.nan, np.nan]))
    assert store.parts() == ()


def test_a_store_travels_to_other_processes(store):
    store.parts()
    assert pickle.loads(pickle.dumps(store)) == store


def test_an_unknown_folder_is_one_sentence(tmp_path):
    with pytest.raises(InputError, match=r"nowhere: no score store there"):
        open_stores(str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match="cannot be opened"):
        open_stores("gopher://host/path")


def test_a_part_says_whose_it_is_and_takes_24_bytes_a_pair(store, tmp_path):
    save(store, random_keys(50_000))
    (part,) = store.parts()
    assert part.size / 50_000 < 24.1
    found = pq.ParquetFile(f"{store.folder.path}/{part.name}").schema_arrow
    assert found.names == ["high", "low", "logit", "tokens"]
    assert found.metadata[b"rerank.fingerprint"].decode() == FINGERPRINT
    assert found.metadata[b"rerank.format"] == b"1"


def test_models_are_kept_apart(store, tmp_path):
    other = ScoreStore(store.uri, "e" * 32)
    keys = random_keys(10)
    save(store, keys)
    assert not Snapshot.open(other, tmp_path / "cache").lookup(keys).known.any()
    assert [found.fingerprint for found in open_stores(store.uri)] == [FINGERPRINT]


def test_parts_that_cannot_be_listed_are_a_sentence(tmp_path):
    (tmp_path / "model=m").write_text("no folder")
    with pytest.raises(InputError, match=r"cannot list the score store: "):
        ScoreStore(str(tmp_path), "m").parts()
