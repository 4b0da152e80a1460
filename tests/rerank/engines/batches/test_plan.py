"""Batches: every pair once, longest first, never above the budget of tokens."""

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rerank.engines.batches.plan import computed_tokens, pad, plan_batches, row_mask
from rerank.engines.batches.prefixes import Prefixes, SharedRows


@given(lengths=st.lists(st.integers(0, 60), max_size=40), batch_tokens=st.integers(1, 300), padded=st.booleans())
def test_batches_hold_every_pair_with_tokens_once_within_the_budget(lengths, batch_tokens, padded):
    sizes = np.array(lengths, dtype=np.int32)
    batches = plan_batches(sizes, batch_tokens=batch_tokens, padded=padded)
    order = [int(pair) for batch in batches for pair in batch]
    assert order == sorted(np.flatnonzero(sizes), key=lambda pair: -lengths[pair])
    for batch in batches:
        assert len(batch) == 1 or computed_tokens(sizes[batch], padded=padded) <= batch_tokens
    for batch, following in pairwise(batches):
        more = sizes[[*batch, following[0]]]
        assert computed_tokens(more, padded=padded) > batch_tokens, f"{following[0]} would have fitted"


@given(lengths=st.lists(st.integers(0, 60), max_size=40), batch_tokens=st.integers(1, 300), cost=st.integers(0, 100))
def test_batches_are_cut_where_the_padding_costs_more_than_a_batch(lengths, batch_tokens, cost):
    sizes = np.array(lengths, dtype=np.int32)
    whole, cut = (plan_batches(sizes, batch_tokens=batch_tokens, batch_cost=each) for each in (None, cost))
    assert [pair for batch in cut for pair in batch] == [pair for batch in whole for pair in batch]
    places = [sum(computed_tokens(sizes[batch], padded=True) for batch in batches) for batches in (whole, cut)]
    assert places[0] - places[1] >= (cost + 1) * (len(cut) - len(whole))
    for batch in cut:
        for rows in range(1, len(batch)):
            parts = (computed_tokens(sizes[part], padded=True) for part in (batch[:rows], batch[rows:]))
            assert computed_tokens(sizes[batch], padded=True) - sum(parts) <= cost


def test_tokens_are_counted_with_the_padding_or_without():
    lengths = np.array([5, 3, 3], dtype=np.int32)
    assert (computed_tokens(lengths, padded=True), computed_tokens(lengths, padded=False)) == (15, 11)


def test_rows_are_filled_up_on_the_right():
    values, offsets = np.array([1, 2, 3, 4], dtype=np.int32), np.array([0, 3, 3, 4])
    assert pad(values, offsets, fill=9).tolist() == [[1, 2, 3], [9, 9, 9], [4, 9, 9]]
    assert row_mask(np.array([3, 0, 1])).tolist() == [[True] * 3, [False] * 3, [True, False, False]]
    assert pad(values[:0], np.array([0]), fill=9).shape == (0, 0)


@given(
    lengths=st.lists(st.integers(0, 60), max_size=40),
    batch_tokens=st.integers(1, 300),
    numbers=st.randoms(use_true_random=False),
)
def test_pairs_with_the_same_prefix_come_together_within_the_budget(lengths, batch_tokens, numbers):
    sizes = np.array(lengths, dtype=np.int32)
    groups = np.array([numbers.randrange(4) for _ in lengths], dtype=np.int64)
    own = np.array([numbers.randrange(12) for _ in range(4)])[groups]
    groups[sizes <= own] = np.arange(4, 4 + len(sizes))[sizes <= own]  # of which nothing is left: alone, without
    _, groups = np.unique(groups, return_inverse=True)
    prefixes = Prefixes(groups, np.where(sizes > own, own, 0))
    batches = plan_batches(sizes, batch_tokens=batch_tokens, padded=False, prefixes=prefixes)
    order = [int(pair) for batch in batches for pair in batch]
    assert sorted(order) == np.flatnonzero(sizes).tolist()
    assert len(np.flatnonzero(np.diff(groups[order]))) + 1 == len(set(groups[order])) or not order
    for batch in batches:
        assert len(batch) == 1 or sizes[batch].sum() - prefixes.take(batch).saved_tokens() <= batch_tokens
    for batch, following in pairwise(batches):
        more = np.array([*batch, following[0]])
        assert sizes[more].sum() - prefixes.take(more).saved_tokens() > batch_tokens, "it would have fitted"


def test_the_rows_of_a_batch_with_shared_prefixes():
    lengths, prefixes = np.array([7, 5, 6, 4]), Prefixes(np.array([1, 0, 1, 2]), np.array([3, 2, 3, 1]))
    rows = SharedRows.of(lengths, prefixes)
    assert rows.prefix_count == 1
    assert rows.prefix_of.tolist() == [-1, 0, -1, 0, -1]
    parts = [part.tolist() for part in np.split(rows.tokens, rows.offsets[1:-1])]
    assert parts == [[0, 1, 2], [3, 4, 5, 6], [7, 8, 9, 10, 11], [15, 16, 17], [18, 19, 20, 21]]
    assert SharedRows.of(10 * lengths, prefixes) is None, "3 of 220 tokens are not worth it"
