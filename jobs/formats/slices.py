"""Read row groups of a Parquet file in slices whose size is bounded after decoding.

Parquet stores a repeated text once per dictionary, so that a small file may decode to thousands of times its size.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

import pyarrow as pa
import pyarrow.parquet as pq

from rerank.sizes import cut_by_bytes, row_bytes, wide_type

_BYTES_READ_AHEAD = 256 << 20
_BYTES_AT_ONCE = 8 << 20
_BYTES_PER_VALUE = 8
_TEXTS = ("STRING", "NONE", "UNKNOWN")


def read_slices(
    stream: pa.NativeFile,
    groups: Sequence[int],
    *,
    most_bytes: int,
    columns: Sequence[str] | None = None,
    rows: int | None = None,
) -> Iterator[pa.Table]:
    """Yield rows of these row groups with wide strings, in tables of at most `most_bytes` bytes or of one row.

    `columns` are names of the file or paths to values inside lists; None: all. `rows` is how many are read; None: all.
    Raises OSError and pa.ArrowException if the file cannot be read.
    """
    metadata = pq.read_metadata(stream)
    footers = [metadata.row_group(group) for group in groups]
    all_rows = sum(footer.num_rows for footer in footers)
    encoded = _encoded_texts(metadata, footers)
    # Read small groups ahead only: a buffered group is in memory whole before its first row is returned.
    ahead = rows in (None, all_rows) and sum(footer.total_byte_size for footer in footers) <= _BYTES_READ_AHEAD
    file = pq.ParquetFile(
        stream,
        metadata=metadata,
        read_dictionary=encoded,
        pre_buffer=ahead,
        buffer_size=0 if ahead else _BYTES_AT_ONCE,
    )
    # Arrow cannot read batches of lists across dictionaries, and each row group has one (version 26).
    is_small = sum(_bytes_of(footer, columns) for footer in footers) <= most_bytes
    runs = [groups] if is_small and not any("." in path for path in encoded) else [[group] for group in groups]
    batches = chain.from_iterable(
        file.iter_batches(_rows_within(metadata, run, columns, most_bytes), row_groups=run, columns=columns)
        for run in runs
    )
    head = batches if rows is None else _head(batches, rows)
    yield from _joined((_decoded(batch) for batch in _cut(head, most_bytes)), most_bytes)


def _rows_within(
    metadata: pq.FileMetaData, groups: Sequence[int], columns: Sequence[str] | None, most_bytes: int
) -> int:
    """Return how many rows of these row groups take `most_bytes` on average, dictionaries as they are; at least 1."""
    footers = [metadata.row_group(group) for group in groups]
    rows: int = sum(footer.num_rows for footer in footers)
    size = sum(_bytes_of(footer, columns) for footer in footers)
    return max(1, min(rows, most_bytes * rows // max(1, size)))


def _bytes_of(footer: pq.RowGroupMetaData, columns: Sequence[str] | None) -> int:
    """Return the bytes of a row group in memory, dictionaries as they are: numbers may be packed in the file."""
    chunks = [footer.column(at) for at in range(footer.num_columns)]
    sizes: list[int] = [
        max(chunk.total_uncompressed_size, _BYTES_PER_VALUE * chunk.num_values)
        for chunk in chunks
        if columns is None or any(f"{chunk.path_in_schema}.".startswith(f"{name}.") for name in columns)
    ]
    return sum(sizes)


def _encoded_texts(metadata: pq.FileMetaData, footers: Sequence[pq.RowGroupMetaData]) -> list[str]:
    """Return the text columns that these row groups store as dictionaries, which they are read as, too."""
    castable = {field.name for field in metadata.schema.to_arrow_schema() if _is_castable(field.type)}
    return [
        metadata.schema.column(at).path
        for at in range(metadata.num_columns)
        if metadata.schema.column(at).physical_type == "BYTE_ARRAY"
        and metadata.schema.column(at).logical_type.type in _TEXTS
        and metadata.schema.column(at).path.split(".")[0] in castable
        and any(footer.column(at).has_dictionary_page for footer in footers)
    ]


def _is_castable(kind: pa.DataType) -> bool:
    """Return True if a cast to `wide_type(kind)` decodes all dictionaries: it does inside structs and lists."""
    if pa.types.is_struct(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return all(_is_castable(kind.field(at).type) for at in range(kind.num_fields))
    return not (pa.types.is_nested(kind) or isinstance(kind, pa.BaseExtensionType))


def _head(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        yield batch.slice(0, rows)
        rows -= batch.num_rows
        if rows <= 0:
            return


def _cut(batches: Iterable[pa.RecordBatch], most_bytes: int) -> Iterator[pa.RecordBatch]:
    """Yield slices of the batches that take at most `most_bytes` once they are decoded, or of one row."""
    for batch in batches:
        for start, stop in cut_by_bytes(row_bytes(batch), most_bytes):
            yield batch.slice(start, stop - start)


def _decoded(batch: pa.RecordBatch) -> pa.Table:
    """Return a batch with wide strings, dictionaries decoded."""
    arrays = [_wide(values) for values in batch.columns]
    return pa.Table.from_arrays(arrays, names=batch.schema.names)


def _wide(values: pa.Array) -> pa.Array:
    kind = wide_type(values.type)
    if values.type == kind:
        return values
    if pa.types.is_nested(kind):  # a cast decodes all entries of a list, those outside the slice, too
        values = pa.concat_arrays([values.slice(0, 0), values])
    return values.cast(kind)


def _joined(tables: Iterable[pa.Table], most_bytes: int) -> Iterator[pa.Table]:
    """Join tables while they fit: Arrow ends a batch wherever a dictionary ends."""
    waiting: list[pa.Table] = []
    size = 0
    for table in tables:
        if waiting and size + table.nbytes > most_bytes:
            yield pa.concat_tables(waiting)
            waiting, size = [], 0
        waiting.append(table)
        size += table.nbytes
    if waiting:
        yield pa.concat_tables(waiting)
