"""Hashes: one per pair of texts, whatever Arrow holds them in."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from xxhash import xxh3_128_intdigest

from rerank.store import hash_pairs

TEXTS = st.lists(st.text(max_size=8), min_size=1, max_size=12)


def pair_hash(query: str, document: str) -> tuple[int, int]:
    return tuple(hash_pairs(pa.array([query]), pa.array([document]), np.array([0], dtype=np.int32))[0].tolist())


@given(TEXTS, TEXTS, st.data())
def test_equal_hashes_mean_equal_pairs(queries, documents, data):
    chosen = st.lists(st.integers(0, len(queries) - 1), min_size=len(documents), max_size=len(documents))
    query_of = np.array(data.draw(chosen), dtype=np.int32)
    hashes = hash_pairs(pa.array(queries), pa.array(documents), query_of)
    assert hashes.dtype == np.uint64 and hashes.shape == (len(documents), 2)
    pairs = [(queries[query], document) for query, document in zip(query_of, documents, strict=True)]
    assert len(set(map(tuple, hashes.tolist()))) == len(set(pairs))


def test_a_pair_hash_is_the_xor_of_two_digests():
    """The format: a change here would make every store useless."""
    expected = xxh3_128_intdigest("frage ü".encode(), 0x9E3779B97F4A7C15) ^ xxh3_128_intdigest(b"antwort")
    high, low = pair_hash("frage ü", "antwort")
    assert (high << 64 | low) == expected


def test_texts_are_not_run_together():
    assert (
        len(
            {
                pair_hash("ab", "c"),
                pair_hash("a", "bc"),
                pair_hash("abc", ""),
                pair_hash("", "abc"),
                pair_hash("c", "ab"),
            }
        )
        == 5
    )


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())]
)
def test_the_arrow_type_does_not_matter(kind):
    texts = ["", "a", "é" * 30, "long " * 100]
    query_of = np.array([1, 0, 3, 2], dtype=np.int32)
    plain = hash_pairs(pa.array(texts), pa.array(texts), query_of)
    assert np.array_equal(hash_pairs(pa.array(texts).cast(kind), pa.array(texts).cast(kind), query_of), plain)


def test_slices_and_chunks_do_not_matter():
    texts = [f"text {number}" for number in range(20)]
    query_of = (np.arange(10) // 5).astype(np.int32)
    plain = hash_pairs(pa.array(texts[3:5]), pa.array(texts[7:17]), query_of)
    sliced = hash_pairs(pa.array(texts).slice(3, 2), pa.array(texts).slice(7, 10), query_of)
    chunks = pa.chunked_array([texts[7:9], [], texts[9:17]], type=pa.string())
    assert np.array_equal(sliced, plain)
    assert np.array_equal(hash_pairs(pa.chunked_array([texts[3:5]]), chunks, query_of), plain)


def test_no_pairs_and_nulls():
    none = hash_pairs(pa.array([], pa.string()), pa.chunked_array([], pa.string()), np.array([], dtype=np.int32))
    assert none.shape == (0, 2)
    assert np.array_equal(
        hash_pairs(pa.array([None], pa.string()), pa.array([None, "a"]), np.zeros(2, np.int32)),
        hash_pairs(pa.array([""]), pa.array(["", "a"]), np.zeros(2, np.int32)),
    )
