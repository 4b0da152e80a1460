"""Array types, and rows of different lengths as two arrays: of token ids, and of vectors."""

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
    """Rows of different lengths: row i is `values[offsets[i]:offsets[i + 1]]`."""

    values: IntArray
    offsets: Offsets

    @classmethod
    def from_rows(cls, rows: Sequence[Sequence[int]]) -> "Ragged":
        """Return lists of ids as Ragged rows."""
        offsets = offsets_of([len(row) for row in rows])
        values = np.fromiter(chain.from_iterable(rows), dtype=np.int32, count=int(offsets[-1]))
        return cls(values, offsets)

    @classmethod
    def from_arrays(cls, rows: Sequence[IntArray]) -> "Ragged":
        """Return arrays of ids as Ragged rows."""
        offsets = offsets_of([len(row) for row in rows])
        return cls(np.concatenate(rows) if len(rows) else np.empty(0, dtype=np.int32), offsets)

    @classmethod
    def from_arrow(cls, array: pa.Array) -> "Ragged":
        """Return Arrow lists of int32 as Ragged rows, null lists as empty ones; copies if there are nulls."""
        if array.null_count:
            array = array.fill_null([])
        offsets = array.offsets.to_numpy().astype(np.int64)
        return cls(array.values.to_numpy()[offsets[0] : offsets[-1]], offsets - offsets[0])

    def to_arrow(self) -> pa.Array:
        """Return the rows as an Arrow large_list<int32> array: a block may have more tokens than 32 bits can count."""
        return pa.LargeListArray.from_arrays(pa.array(self.offsets), pa.array(self.values))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> Offsets:
        """Return the tokens of each row, shape [rows]."""
        return np.diff(self.offsets)

    def take(self, rows: npt.NDArray[np.integer], *, lengths: npt.NDArray[np.integer] | None = None) -> "Ragged":
        """Return these rows in this order, each truncated to its entry in `lengths`."""
        kept = self.lengths[rows] if lengths is None else lengths
        return Ragged(self.values[spans(self.offsets[rows], kept)], offsets_of(kept))

    def first(self, count: int) -> "Ragged":
        """Return the first `count` ids of each row."""
        lengths = self.lengths
        if lengths.max(initial=0) <= count:
            return self
        return self.take(np.arange(len(self)), lengths=np.minimum(lengths, count))


@dataclass(frozen=True, slots=True)
class VectorRows:
    """Vectors of texts: those of text i are `values[offsets[i]:offsets[i + 1]]`.

    `values` are float16 or float32, shape [vectors, width].
    """

    values: npt.NDArray[np.floating]
    offsets: Offsets

    @classmethod
    def from_arrow(cls, array: pa.Array) -> "VectorRows":
        """Return what `to_arrow` made; without a copy."""
        vectors = array.flatten()
        values = vectors.flatten().to_numpy().reshape(-1, vectors.type.list_size)
        return cls(values, offsets_of(array.value_lengths().to_numpy()))

    def to_arrow(self) -> pa.Array:
        """Return the rows as an Arrow array of large lists of fixed-size lists, without a copy."""
        vectors = pa.FixedSizeListArray.from_arrays(pa.array(self.values.ravel()), self.values.shape[1])
        return pa.LargeListArray.from_arrays(pa.array(self.offsets), vectors)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> Offsets:
        """Return the number of vectors of each text, shape [texts]."""
        return np.diff(self.offsets)

    def take(self, rows: npt.NDArray[np.integer]) -> "VectorRows":
        """Return these rows in this order; without a copy if they follow one another."""
        offsets = offsets_of(self.lengths[rows])
        if len(rows) and (np.diff(rows) == 1).all():
            return VectorRows(self.values[self.offsets[rows[0]] : self.offsets[rows[-1] + 1]], offsets)
        return VectorRows(self.values[spans(self.offsets[rows], np.diff(offsets))], offsets)

    def only(self, kept: npt.NDArray[np.bool_]) -> "VectorRows":
        """Return as many rows, those that are not `kept` without vectors; without a copy if all vectors are kept."""
        lengths = np.where(kept, self.lengths, 0)
        if lengths.sum() == len(self.values):
            return self
        return VectorRows(self.values[np.repeat(kept, self.lengths)], offsets_of(lengths))


def offsets_of(lengths: npt.ArrayLike) -> Offsets:
    """Return where each row starts if rows of these lengths are concatenated, and the total length as last entry."""
    return np.concatenate(([0], np.cumsum(lengths, dtype=np.int64)))


def spans(starts: npt.NDArray[np.integer], lengths: npt.NDArray[np.integer]) -> Offsets:
    """Return the lengths[0] integers from starts[0], then the lengths[1] integers from starts[1], and so on."""
    ends = np.cumsum(lengths, dtype=np.int64)
    total = int(ends[-1]) if len(ends) else 0
    return np.arange(total, dtype=np.int64) + np.repeat(starts - (ends - lengths), lengths)


def positions(lengths: npt.NDArray[np.integer]) -> Offsets:
    """Return 0, 1, … for each row, the rows concatenated."""
    return spans(np.zeros_like(lengths), lengths)
