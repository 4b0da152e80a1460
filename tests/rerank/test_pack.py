"""Batches: every pair once, longest first, never above the budget of tokens."""

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rerank.pack import pad, plan_batches, row_mask


@given(lengths=st.lists(st.integers(1, 60), max_size=40), batch_tokens=st.integers(1, 300))
def test_batches_hold_every_pair_once_within_the_budget(lengths, batch_tokens):
    sizes = np.array(lengths, dtype=np.int32)
    batches = plan_batches(sizes, batch_tokens=batch_tokens)
    order = [int(pair) for batch in batches for pair in batch]
    assert order == sorted(range(len(lengths)), key=lambda pair: -lengths[pair])
    for batch in batches:
        assert len(batch) == 1 or len(batch) * sizes[batch].max() <= batch_tokens
    for batch, following in pairwise(batches):
        assert (len(batch) + 1) * sizes[batch].max() > batch_tokens, f"{following[0]} would have fitted"


def test_rows_are_filled_up_on_the_right():
    values, offsets = np.array([1, 2, 3, 4], dtype=np.int32), np.array([0, 3, 3, 4])
    assert pad(values, offsets, fill=9).tolist() == [[1, 2, 3], [9, 9, 9], [4, 9, 9]]
    assert row_mask(np.array([3, 0, 1])).tolist() == [[True] * 3, [False] * 3, [True, False, False]]
    assert pad(values[:0], np.array([0]), fill=9).shape == (0, 0)
