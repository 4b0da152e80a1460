"""Sizes of Arrow rows in bytes once dictionaries are decoded, and tables cut by them."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rerank.arrays import Offsets, offsets_of

_BYTES_PER_OFFSET = 8
_STRINGS = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
_BINARIES = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view)
_LISTS = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)


def row_bytes(rows: pa.Table | pa.RecordBatch) -> Offsets:
    """Return the bytes of each row, shape [rows]; a value of a dictionary counts in every row that refers to it."""
    return sum((_value_bytes(column) for column in rows.columns), np.zeros(rows.num_rows, dtype=np.int64))


def cut_by_bytes(sizes: Offsets, most: int) -> Iterator[tuple[int, int]]:
    """Yield ranges of rows, start and stop, that hold at most `most` bytes each, or one row that is larger.

    `sizes` are the bytes of each row.
    """
    ends, start = np.cumsum(sizes), 0
    while start < len(ends):
        before = int(ends[start - 1]) if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + most, side="right")))
        yield start, stop
        start = stop


def slices(table: pa.Table, most: int) -> Iterator[pa.Table]:
    """Yield the rows of a table as slices of at most `most` bytes, or of one row that is larger; at least one slice."""
    if not table.num_rows:
        yield table
    for start, stop in cut_by_bytes(row_bytes(table), most):
        yield table.slice(start, stop - start)


def wide_type(kind: pa.DataType) -> pa.DataType:
    """Return a type with the same values whose strings may hold more than 2 GiB in total; dictionaries are decoded.

    Strings inside structs and lists are wide, too. Arrow raises errors, or counts wrongly, where an array of its usual
    strings outgrows offsets of 32 bits.
    """
    return _with_strings(kind, pa.large_string(), pa.large_binary())


def narrow_type(kind: pa.DataType) -> pa.DataType:
    """Return a type with the same values whose strings have Arrow's usual type; the opposite of `wide_type`."""
    return _with_strings(kind, pa.string(), pa.binary())


def _with_strings(kind: pa.DataType, string: pa.DataType, binary: pa.DataType) -> pa.DataType:
    def change(inner: pa.DataType) -> pa.DataType:
        return _with_strings(inner, string, binary)

    if pa.types.is_dictionary(kind):
        return change(kind.value_type)
    if any(test(kind) for test in _STRINGS):
        return string
    if any(test(kind) for test in _BINARIES):
        return binary
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(change(field.type)) for field in kind])
    if pa.types.is_list(kind):
        return pa.list_(kind.value_field.with_type(change(kind.value_type)))
    if pa.types.is_large_list(kind):
        return pa.large_list(kind.value_field.with_type(change(kind.value_type)))
    return kind


def _value_bytes(values: pa.Array | pa.ChunkedArray) -> Offsets:
    """Return the bytes of each value, shape [values]; nulls of variable length count as empty."""
    if isinstance(values, pa.ChunkedArray):
        return np.concatenate([np.zeros(0, dtype=np.int64), *map(_value_bytes, values.chunks)])
    kind = values.type
    if pa.types.is_dictionary(kind):
        of_dictionary = np.append(_value_bytes(values.dictionary), 0)
        entries: Offsets = of_dictionary[values.indices.cast(pa.int64()).fill_null(-1).to_numpy()]
        return entries
    if pa.types.is_struct(kind):
        fields = (_value_bytes(values.field(index)) for index in range(kind.num_fields))
        return sum(fields, np.zeros(len(values), dtype=np.int64))
    if any(test(kind) for test in (*_STRINGS, *_BINARIES)):
        return _lengths(pc.binary_length(values)) + _BYTES_PER_OFFSET
    if any(test(kind) for test in _LISTS):
        if (width := _fixed_bytes(kind.value_type)) is not None:  # vectors: not one number for each of their floats
            return _lengths(pc.list_value_length(values)) * width + _BYTES_PER_OFFSET
        ends = offsets_of(_value_bytes(values.flatten()))
        return np.diff(ends[offsets_of(_lengths(pc.list_value_length(values)))]) + _BYTES_PER_OFFSET
    return np.full(len(values), -(-values.nbytes // max(1, len(values))), dtype=np.int64)


def _fixed_bytes(kind: pa.DataType) -> int | None:
    """Return the bytes that every value of a type takes, None if they differ."""
    if pa.types.is_fixed_size_list(kind):
        width = _fixed_bytes(kind.value_type)
        return None if width is None else width * kind.list_size
    is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind)
    return kind.bit_width // 8 if is_number else None


def _lengths(lengths: pa.Array) -> Offsets:
    filled: Offsets = lengths.cast(pa.int64()).fill_null(0).to_numpy()
    return filled
