"""Look up pairs in sorted entries."""

from collections.abc import Callable
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
    return find_in_buckets(lambda _: entries, np.zeros(1, dtype=np.uint64), pair_hashes)


def find_in_buckets(
    bucket: Callable[[int], Entries], first_hashes: npt.NDArray[np.uint64], pair_hashes: Hashes
) -> StoredScores:
    """Return what buckets of sorted, distinct entries hold for pairs with these hashes, shape [pairs, 2].

    `bucket` returns the entries of a bucket; it is called only for those that these pairs can be in. `first_hashes` has
    the lowest high half of each bucket, in ascending order.
    """
    order = np.argsort(pair_hashes[:, 0])  # searches in ascending order are 5 times faster at 10 M pairs
    high, low = (np.ascontiguousarray(pair_hashes[order, half], dtype=np.uint64) for half in (0, 1))
    logits = np.full(len(pair_hashes), np.nan, dtype=np.float32)
    tokens = np.zeros(len(pair_hashes), dtype=np.int32)
    cuts = np.append(np.searchsorted(high, first_hashes), len(high))
    for number in np.flatnonzero(np.diff(cuts)).tolist():
        entries, start, stop = bucket(number), int(cuts[number]), int(cuts[number + 1])
        places, rows = _match(entries, high[start:stop], low[start:stop])
        logits[order[start + places]] = entries.logit[rows]
        tokens[order[start + places]] = entries.tokens[rows]
    return StoredScores(logits, tokens, ~np.isnan(logits))


def _match(
    entries: Entries, high: npt.NDArray[np.uint64], low: npt.NDArray[np.uint64]
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return the places of those ascending hashes that the entries hold, and the row of each."""
    rows = np.searchsorted(entries.high, high)
    unresolved = np.arange(len(high))
    found = []
    while len(unresolved):  # more than once only where high halves collide
        unresolved = unresolved[rows[unresolved] < entries.pairs]
        unresolved = unresolved[entries.high[rows[unresolved]] == high[unresolved]]
        is_hit = entries.low[rows[unresolved]] == low[unresolved]
        found.append(unresolved[is_hit])
        unresolved = unresolved[~is_hit]
        rows[unresolved] += 1
    places = np.concatenate(found)
    return places, rows[places]
