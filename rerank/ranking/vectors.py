"""Vectors that candidates bring instead of a text or beside it, for models that compare the vectors of texts."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from rerank.arrays import Offsets, VectorRows, offsets_of
from rerank.errors import InputError
from rerank.ranking.candidates import combined
from rerank.ranking.reject import Codes, Reason

VECTORS = "vectors"

_LISTS = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)


@dataclass(frozen=True, slots=True)
class VectorFormat:
    """What a model makes of a document: vectors of this width, one per token or, if `is_single`, one in all."""

    width: int
    is_single: bool


@dataclass(frozen=True, slots=True)
class CandidateVectors:
    """The vectors that candidates bring: `rows` [pairs] holds them, none for a candidate whose code is not OK.

    `codes` [pairs] are Reason codes, VECTORS_NULL for a candidate that brings none.
    """

    rows: VectorRows
    codes: Codes

    @property
    def is_brought(self) -> npt.NDArray[np.bool_]:
        """Return which candidates are scored by vectors that they bring, shape [pairs]."""
        mask: npt.NDArray[np.bool_] = self.codes == Reason.OK
        return mask


def refuse_vectors_alone(columns: Collection[str]) -> None:
    """Raise InputError if candidates with these columns have vectors without texts, for a model that reads texts."""
    if VECTORS in columns and "text" not in columns:
        raise InputError(
            "the model reads query and document together, so that candidates need a column 'text', got only 'vectors'"
        )


def holds_vectors(kind: pa.DataType) -> bool:
    """Return whether this is a type of vectors: a list of floats, or a list of such lists; lists may be of any size."""
    return holds_floats(kind) or (_is_list(kind) and holds_floats(kind.value_type))


def holds_floats(kind: pa.DataType) -> bool:
    """Return whether this is a list of floats."""
    return _is_list(kind) and bool(pa.types.is_floating(kind.value_type))


def read_vectors(candidates: pa.Table, expected: VectorFormat) -> CandidateVectors:
    """Return the candidates' column `vectors`, checked row by row; vectors in float64 become float32.

    A list of floats counts as one vector. Raises InputError if the column has another type.
    """
    lists = combined(candidates.column(VECTORS))
    if pa.types.is_null(lists.type):
        lists = lists.cast(pa.list_(pa.list_(pa.float32())))
    if not holds_vectors(lists.type):
        raise InputError(f"column {VECTORS!r} must hold lists of floats, or lists of such lists, got {lists.type}")
    is_null = np.asarray(lists.is_null())
    if holds_floats(lists.type):
        vectors, counts = lists.drop_null(), (~is_null).astype(np.int64)
    else:
        vectors, counts = lists.flatten(), _lengths(lists)
    values = vectors.flatten()
    if pa.types.is_float64(values.type):
        values = values.cast(pa.float32(), safe=False)
    widths = _lengths(vectors)
    bounds = offsets_of(counts)  # of each candidate among the vectors
    float_bounds = offsets_of(widths)[bounds]  # and among the floats
    floats = values.to_numpy(zero_copy_only=False)
    codes = np.where(is_null, Reason.VECTORS_NULL, Reason.OK).astype(np.int8)
    if expected.is_single:
        codes[counts > 1] = Reason.VECTORS_SEVERAL
    if not _are_finite(floats):
        codes[_owners(float_bounds, ~np.isfinite(floats))] = Reason.VECTORS_NOT_FINITE
    codes[_owners(bounds, widths != expected.width)] = Reason.VECTORS_WIDTH
    codes[_owners(bounds, np.asarray(vectors.is_null()))] = Reason.VECTORS_HOLD_NULL
    if values.null_count:
        codes[_owners(float_bounds, np.asarray(values.is_null()))] = Reason.VECTORS_HOLD_NULL
    codes[~is_null & (np.diff(float_bounds) == 0) & (codes != Reason.VECTORS_HOLD_NULL)] = Reason.VECTORS_EMPTY
    is_sound = codes == Reason.OK
    if not is_sound[counts > 0].all():
        floats = floats[np.repeat(is_sound, np.diff(float_bounds))]
    rows = VectorRows(floats.reshape(-1, expected.width), offsets_of(np.where(is_sound, counts, 0)))
    return CandidateVectors(rows, codes)


def _lengths(lists: pa.Array) -> Offsets:
    lengths: Offsets = pc.fill_null(pc.list_value_length(lists), 0).to_numpy().astype(np.int64)
    return lengths


def _are_finite(floats: npt.NDArray[np.floating]) -> bool:
    """Return whether no number is NaN or infinite: four times as fast as `np.isfinite` in float16.

    The bits of finite numbers are below those of infinity with the same sign, and those of NaN are above.
    """
    unsigned, signed = (floats.view(f"{kind}{floats.itemsize}") for kind in "ui")
    highest, lowest = np.array([np.inf, -np.inf], dtype=floats.dtype).view(unsigned.dtype)
    return bool(signed.max(initial=0) < highest and unsigned.max(initial=0) < lowest)


def _owners(bounds: Offsets, is_bad: npt.NDArray[np.bool_]) -> npt.NDArray[np.intp]:
    """Return the candidates that hold bad entries; those of candidate i are the entries bounds[i] to bounds[i + 1]."""
    return np.searchsorted(bounds, np.flatnonzero(is_bad), side="right") - 1


def _is_list(kind: pa.DataType) -> bool:
    return any(test(kind) for test in _LISTS)
