"""How many pairs an engine gets at once, so that a long block saves and reports every few seconds what is scored."""

from math import ceil

import numpy as np

from rerank.arrays import IntArray

_SLICE_S = 5.0
_LEAST_PAIRS = 64  # of a slice: fewer would not pack well
# The first slice of an engine whose pace nobody knows: so many pairs, but more of a block that is made for a fast one.
_FIRST_PAIRS = 256
_FIRST_SHARE = 16


class Pace:
    """The pace of an engine, as it was when it scored the last slice."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self._seconds_per_token: float | None = None

    def note(self, *, tokens: int, seconds: float) -> None:
        """Note how long a slice took."""
        self._seconds_per_token = seconds / max(1, tokens)

    def next_slice(self, lengths: IntArray) -> int:
        """Return how many of the pairs that are left to score next; `lengths` are their tokens, in order."""
        pairs = len(lengths)
        if pairs < 2 * _LEAST_PAIRS:
            return pairs
        if self._seconds_per_token is None:
            return max(_LEAST_PAIRS, min(_FIRST_PAIRS, pairs // 4), pairs // _FIRST_SHARE)
        tokens = np.cumsum(lengths)
        slices = ceil(tokens[-1] * self._seconds_per_token / _SLICE_S)
        if slices <= 1:
            return pairs
        return max(_LEAST_PAIRS, int(np.searchsorted(tokens, tokens[-1] / slices)) + 1)
