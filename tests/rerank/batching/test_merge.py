"""Batches of several requests' pairs: each pair keeps its texts, and texts that no pair uses stay behind."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rerank.arrays import Ragged
from rerank.batching.merge import merge
from rerank.encoding.pairs import EncodedPairs
from tests.rerank.batching.requests import TEMPLATE


def pairs_of(name: int, queries: int, rows: list[int]) -> EncodedPairs:
    """Pairs of `queries` queries; pair i has query rows[i] and a document of its own."""
    documents = Ragged.from_rows([[name, row] for row in range(len(rows))])
    return EncodedPairs(
        TEMPLATE,
        Ragged.from_rows([[name, -query] * (query % 3 + 1) for query in range(queries)]),
        documents,
        np.array(rows, dtype=np.int32),
        np.arange(len(rows), dtype=np.int32),
        np.array([query % 3 * 2 + 1 for query in rows], dtype=np.int32),
        documents.lengths.astype(np.int32),
    )


@st.composite
def parts(draw: st.DrawFn) -> list[tuple[EncodedPairs, np.ndarray]]:
    """One to four requests with one query or several, and some of their pairs in any order."""
    drawn = []
    for name in range(draw(st.integers(1, 4))):
        queries = draw(st.integers(1, 5))
        rows = draw(st.lists(st.integers(0, queries - 1), min_size=1, max_size=8))
        taken = draw(st.permutations(range(len(rows))))[: draw(st.integers(1, len(rows)))]
        drawn.append((pairs_of(name, queries, rows), np.array(taken, dtype=np.intp)))
    return drawn


@given(parts())
def test_each_pair_keeps_its_texts(drawn: list[tuple[EncodedPairs, np.ndarray]]) -> None:
    merged = merge(drawn)
    ids, types, offsets = merged.join(np.arange(len(merged)))
    expected = [pairs.join(rows)[0] for pairs, rows in drawn]
    assert ids.tolist() == np.concatenate(expected).tolist()
    assert (offsets[-1], len(types)) == (len(ids), len(ids))


def test_queries_that_no_pair_uses_stay_behind() -> None:
    pairs = pairs_of(7, 1_000, list(range(1_000)))
    merged = merge([(pairs, np.array([5, 3, 5])), (pairs_of(8, 1, [0]), np.array([0]))])
    assert (len(merged.queries), len(merged.documents)) == (3, 4)
