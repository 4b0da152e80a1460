"""Rows of token ids with different lengths, as two arrays."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import numpy.typing as npt
import pyarrow as pa

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int32]
Offsets = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Ragged:
    """Row i is `values[offsets[i]:offsets[i + 1]]`."""

    values: IntArray
    offsets: Offsets

    @classmethod
    def from_rows(cls, rows: Sequence[Sequence[int]]) -> "Ragged":
        """Pack lists of ids."""
        offsets = offsets_of([len(row) for row in rows])
        values = np.fromiter(chain.from_iterable(rows), dtype=np.int32, count=int(offsets[-1]))
        return cls(values, offsets)

    @classmethod
    def from_arrow(cls, array: pa.Array) -> "Ragged":
        """View an Arrow list<int32> array, null lists as empty rows; copies only when nulls hide values."""
        if array.null_count:
            array = array.fill_null([])
        offsets = array.offsets.to_numpy().astype(np.int64)
        return cls(array.values.to_numpy()[offsets[0] : offsets[-1]], offsets - offsets[0])

    def to_arrow(self) -> pa.Array:
        """The same rows as an Arrow list<int32> array."""
        return pa.ListArray.from_arrays(pa.array(self.offsets.astype(np.int32)), pa.array(self.values))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> Offsets:
        """Tokens of each row."""
        return np.diff(self.offsets)

    def take(self, rows: npt.NDArray[np.integer], *, lengths: npt.NDArray[np.integer] | None = None) -> "Ragged":
        """The given rows in the given order, each cut to its entry in `lengths`."""
        kept = self.lengths[rows] if lengths is None else lengths
        return Ragged(self.values[spans(self.offsets[rows], kept)], offsets_of(kept))


def offsets_of(lengths: npt.ArrayLike) -> Offsets:
    """Running start of each row, with the total as the last entry."""
    return np.concatenate(([0], np.cumsum(lengths, dtype=np.int64)))


def spans(starts: npt.NDArray[np.integer], lengths: npt.NDArray[np.integer]) -> Offsets:
    """Positions starts[0], starts[0]+1, … for lengths[0] of them, then those of the next span, and so on."""
    ends = np.cumsum(lengths, dtype=np.int64)
    total = int(ends[-1]) if len(ends) else 0
    return np.arange(total, dtype=np.int64) + np.repeat(starts - (ends - lengths), lengths)


def positions(lengths: npt.NDArray[np.integer]) -> Offsets:
    """0, 1, … for each row in turn."""
    return spans(np.zeros_like(lengths), lengths)
