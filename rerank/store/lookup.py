"""Look up pairs in sorted entries."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from rerank.arrays import FloatArray, IntArray
from rerank.store.entries import Entries
from rerank.store.keys import Hashes


class StoredScores(NamedTuple):
    """The stored values of some pairs: logits [pairs], NaN if unknown; tokens [pairs], 0 if unknown; known [pairs]."""

    logits: FloatArray
    tokens: IntArray
    known: npt.NDArray[np.bool_]


def find(entries: Entries, pair_hashes: Hashes) -> StoredScores:
    """Return what sorted, distinct entries hold for pairs with these hashes, shape [pairs, 2]."""
    order = np.argsort(pair_hashes[:, 0])  # searches in ascending order are 5 times faster at 10 M pairs
    high, low = (np.ascontiguousarray(pair_hashes[order, half], dtype=np.uint64) for half in (0, 1))
    rows = np.searchsorted(entries.high, high)
    last = entries.pairs - 1
    known = np.zeros(len(pair_hashes), dtype=np.bool_)
    unresolved = np.arange(len(pair_hashes) if entries.pairs else 0)
    while len(unresolved):  # more than once only where high halves collide
        unresolved = unresolved[rows[unresolved] <= last]
        unresolved = unresolved[entries.high[rows[unresolved]] == high[unresolved]]
        is_hit = entries.low[rows[unresolved]] == low[unresolved]
        known[unresolved[is_hit]] = True
        unresolved = unresolved[~is_hit]
        rows[unresolved] += 1
    logits = np.full(len(pair_hashes), np.nan, dtype=np.float32)
    tokens = np.zeros(len(pair_hashes), dtype=np.int32)
    logits[order[known]] = entries.logit[rows[known]]
    tokens[order[known]] = entries.tokens[rows[known]]
    return StoredScores(logits, tokens, ~np.isnan(logits))
