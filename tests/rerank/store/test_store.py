"""Writing and looking up: what goes in comes out, through any URI."""

import pickle

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank.errors import InputError
from rerank.store import ScoreStore, Snapshot, open_stores
from rerank.store.entries import Entries, concatenate, distinct

FINGERPRINT = "f" * 32
# Few high halves, so that many hashes collide in them; the edges of the types among them.
HALVES = st.sampled_from([0, 1, 2**63 - 1, 2**63, 2**64 - 1])
HASHES = st.lists(st.tuples(HALVES, st.integers(0, 3) | HALVES), max_size=40)


def as_hashes(hashes) -> np.ndarray:
    return np.array(hashes, dtype=np.uint64).reshape(-1, 2)


def random_hashes(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2**64 - 1, (count, 2), dtype=np.uint64)


def save(store: ScoreStore, hashes: np.ndarray, logits=None, tokens=None) -> None:
    """One part; without values the logits and tokens are the numbers of the pairs."""
    numbers = np.arange(len(hashes))
    store.append(
        hashes,
        (numbers if logits is None else logits).astype(np.float32),
        (numbers if tokens is None else tokens).astype(np.int32),
    )


@pytest.fixture
def store(tmp_path) -> ScoreStore:
    return ScoreStore(str(tmp_path / "store"), FINGERPRINT)


@given(HASHES, HASHES, st.integers(1, 5))
def test_lookup_is_a_dictionary(tmp_path_factory, stored, asked, cuts):
    folder = tmp_path_factory.mktemp("lookup")
    store = ScoreStore(str(folder / "store"), FINGERPRINT)
    expected: dict[tuple[int, int], int] = {}
    for number, pair_hash in enumerate(stored):
        expected.setdefault(pair_hash, number)
    numbers = np.arange(len(stored))
    for rows in np.array_split(numbers, cuts):
        save(store, as_hashes(stored)[rows], numbers[rows].astype(np.float32) / 2, numbers[rows].astype(np.int32))
    snapshot = Snapshot.open(store, folder / "cache")
    assert len(snapshot) == len(expected)
    asked = asked + stored
    found = snapshot.lookup(as_hashes(asked))
    assert found.known.tolist() == [pair_hash in expected for pair_hash in asked]
    assert found.tokens.tolist() == [expected.get(pair_hash, 0) for pair_hash in asked]
    assert np.array_equal(found.logits, [expected.get(pair_hash, np.nan) / 2 for pair_hash in asked], equal_nan=True)


@given(st.lists(HASHES, max_size=6))
def test_distinct_entries_are_sorted_and_the_first_of_equal_hashes_stays(hashes):
    runs = [
        Entries.of(as_hashes(run), np.full(len(run), number), np.arange(len(run))) for number, run in enumerate(hashes)
    ]
    expected: dict[tuple[int, int], tuple[float, int]] = {}
    for number, run in enumerate(hashes):
        for place, pair_hash in enumerate(run):
            expected.setdefault(pair_hash, (number, place))
    entries = distinct(concatenate([Entries.of(as_hashes([]), [], []), *runs]))
    found = list(zip(*(column.tolist() for column in entries), strict=True))
    assert found == [(*pair_hash, *value) for pair_hash, value in sorted(expected.items())]


def test_an_empty_store_knows_nothing(store, tmp_path):
    snapshot = Snapshot.open(store, tmp_path / "cache")
    assert len(snapshot) == 0 and not snapshot.damaged
    assert not snapshot.lookup(random_hashes(3)).known.any()
    assert snapshot.lookup(random_hashes(0)).logits.shape == (0,)


def test_the_edges_of_the_types_survive(store, tmp_path):
    hashes = as_hashes([(0, 0), (2**64 - 1, 2**64 - 1), (2**63, 2**63 - 1)])
    logits = np.array([-3.4e38, 1e-45, 17.25], dtype=np.float32)
    save(store, hashes, logits, np.array([0, 2**31 - 1, 8192]))
    found = Snapshot.open(store, tmp_path / "cache").lookup(hashes)
    assert np.array_equal(found.logits, logits)
    assert found.tokens.tolist() == [0, 2**31 - 1, 8192] and found.tokens.dtype == np.int32


@pytest.mark.parametrize("uri", ["{}/store", "file://{}/store", "{}/with space/store"])
def test_any_uri_will_do(tmp_path, uri):
    store = ScoreStore(uri.format(tmp_path), FINGERPRINT)
    hashes = random_hashes(100)
    save(store, hashes)
    store.describe({"name": "tiny", "max_length": 96})
    assert Snapshot.open(store, tmp_path / "cache").lookup(hashes).known.all()
    (found,) = open_stores(uri.format(tmp_path))
    assert found.fingerprint == FINGERPRINT
    assert found.description() == {"name": "tiny", "max_length": 96}


def test_what_is_not_finite_is_tried_again_next_time(store, tmp_path):
    hashes = random_hashes(5)
    save(store, hashes, np.array([1, np.nan, -np.inf, np.inf, 2]))
    snapshot = Snapshot.open(store, tmp_path / "cache")
    assert snapshot.lookup(hashes).known.tolist() == [True, False, False, False, True]


def test_nothing_to_remember_makes_no_part(store):
    save(store, random_hashes(0))
    save(store, random_hashes(2), np.array([np.nan, np.nan]))
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
    save(store, random_hashes(50_000))
    (part,) = store.parts()
    assert part.size / 50_000 < 24.1
    found = pq.ParquetFile(f"{store.folder.path}/{part.name}").schema_arrow
    assert found.names == ["high", "low", "logit", "tokens"]
    assert found.metadata[b"rerank.fingerprint"].decode() == FINGERPRINT
    assert found.metadata[b"rerank.format"] == b"1"


def test_models_are_kept_apart(store, tmp_path):
    other = ScoreStore(store.uri, "e" * 32)
    hashes = random_hashes(10)
    save(store, hashes)
    assert not Snapshot.open(other, tmp_path / "cache").lookup(hashes).known.any()
    assert [found.fingerprint for found in open_stores(store.uri)] == [FINGERPRINT]


def test_parts_that_cannot_be_listed_are_a_sentence(tmp_path):
    (tmp_path / "model=m").write_text("no folder")
    with pytest.raises(InputError, match=r"cannot list the score store: "):
        ScoreStore(str(tmp_path), "m").parts()
