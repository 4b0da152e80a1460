"""Stored pairs as parallel arrays, and as records of 24 bytes."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from rerank.arrays import FloatArray, IntArray
from rerank.store.keys import Hashes

RECORD = np.dtype([("high", "<u8"), ("low", "<u8"), ("logit", "<f4"), ("tokens", "<i4")])
"""The columns of entries and their types; its size is that of one pair, in bytes."""


class Entries(NamedTuple):
    """Stored pairs, one per row of each array: both halves of the pair hash, logit, tokens. 24 bytes per pair."""

    high: npt.NDArray[np.uint64]
    low: npt.NDArray[np.uint64]
    logit: FloatArray
    tokens: IntArray

    @classmethod
    def of(cls, pair_hashes: Hashes, logits: npt.ArrayLike, tokens: npt.ArrayLike) -> "Entries":
        """Return entries for pair hashes [pairs, 2], logits [pairs] and tokens [pairs]."""
        return cls(
            pair_hashes[:, 0],
            pair_hashes[:, 1],
            np.asarray(logits, dtype=np.float32),
            np.asarray(tokens, dtype=np.int32),
        )

    @property
    def pairs(self) -> int:
        """Return the number of entries (`len` would count the arrays)."""
        return len(self.high)

    def take(self, rows: npt.NDArray[np.integer] | npt.NDArray[np.bool_] | slice) -> "Entries":
        """Return the entries in these rows."""
        return Entries(self.high[rows], self.low[rows], self.logit[rows], self.tokens[rows])


def concatenate(runs: Sequence[Entries]) -> Entries:
    """Return the entries of all runs, concatenated."""
    return Entries(*(np.concatenate(columns) for columns in zip(*runs, strict=True)))


def distinct(entries: Entries) -> Entries:
    """Return the entries sorted by hash; of equal hashes the first is kept."""
    rows = np.argsort(entries.high)  # not stable, but 2.5 times faster than the sort that is
    high = entries.high[rows]
    tied = high[1:] == high[:-1]
    if not tied.any():
        return entries.take(rows)
    places = np.flatnonzero(np.append(tied, False) | np.append(False, tied))
    of_ties = rows[places]
    rows[places] = of_ties[np.lexsort((of_ties, entries.low[of_ties], entries.high[of_ties]))]
    ordered = entries.take(rows)
    repeated = np.flatnonzero(tied & (ordered.low[1:] == ordered.low[:-1])) + 1
    return ordered.take(np.delete(np.arange(ordered.pairs), repeated))


def as_records(entries: Entries) -> npt.NDArray[np.void]:
    """Return the entries as records, shape [pairs]."""
    records = np.empty(entries.pairs, dtype=RECORD)
    for name, column in entries._asdict().items():
        records[name] = column
    return records


def from_records(records: npt.NDArray[np.void]) -> Entries:
    """Return records as entries."""
    return Entries(*(np.ascontiguousarray(records[name]) for name in Entries._fields))
