"""Read row groups of a Parquet file in slices whose size is bounded after decoding.

Parquet stores a repeated text once per dictionary, so that a small file may decode to thousands of times its size.
"""

from collections.abc import Iterable, Iterator, Sequence

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
    fields: Sequence[pa.Field],
    columns: Sequence[str] | None,
    rows: int,
    is_whole: bool,
    most_bytes: int,
) -> Iterator[pa.Table]:
    """Yield the first `rows` rows of these row groups, in tables of at most `most_bytes` bytes or of one row.

    `columns` are names of the file, None for all; `fields` are what to make of them. `is_whole` says that `rows` are
    all rows. Raises OSError and pa.ArrowException if the file cannot be read.
    """
    metadata = pq.read_metadata(stream)
    chunks = [metadata.row_group(group).column(at) for group in groups for at in range(metadata.num_columns)]
    size = sum(max(chunk.total_uncompressed_size, _BYTES_PER_VALUE * chunk.num_values) for chunk in chunks)
    all_rows = sum(metadata.row_group(group).num_rows for group in groups)
    # Read small groups ahead only: a buffered group is in memory whole before its first row is returned.
    ahead = is_whole and sum(metadata.row_group(group).total_byte_size for group in groups) <= _BYTES_READ_AHEAD
    file = pq.ParquetFile(
        stream,
        metadata=metadata,
        read_dictionary=_encoded_texts(metadata, chunks),
        pre_buffer=ahead,
        buffer_size=0 if ahead else _BYTES_AT_ONCE,
    )
    step = max(1, min(rows, most_bytes * all_rows // max(1, size)))
    batches = _head(file.iter_batches(step, row_groups=groups, columns=columns), rows)
    yield from _joined((_decoded(batch, fields) for batch in _cut(batches, most_bytes)), most_bytes)


def _encoded_texts(metadata: pq.FileMetaData, chunks: Sequence[pq.ColumnChunkMetaData]) -> list[str]:
    """Return the text columns that the file stores as dictionaries, which they are read as, too."""
    logical_types = [metadata.schema.column(at).logical_type.type for at in range(metadata.num_columns)]
    castable = {field.name for field in metadata.schema.to_arrow_schema() if _is_castable(field.type)}
    return sorted(
        {
            chunk.path_in_schema
            for at, chunk in enumerate(chunks)
            if chunk.has_dictionary_page
            and chunk.physical_type == "BYTE_ARRAY"
            and logical_types[at % metadata.num_columns] in _TEXTS
            and chunk.path_in_schema.split(".")[0] in castable
        }
    )


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


def _decoded(batch: pa.RecordBatch, fields: Sequence[pa.Field]) -> pa.Table:
    """Return a batch with the names and types of these fields, dictionaries decoded."""
    arrays = [_as_field(field, values) for field, values in zip(fields, batch.columns, strict=True)]
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields))


def _as_field(field: pa.Field, values: pa.Array) -> pa.Array:
    kind = wide_type(values.type)
    if values.type != kind:
        if pa.types.is_nested(kind):  # a cast decodes all entries of a list, those outside the slice, too
            values = pa.concat_arrays([values.slice(0, 0), values])
        values = values.cast(kind)
    return values.view(field.type)  # unlike a view, a cast matches struct fields by name


def _joined(tables: Iterable[pa.Table], most_bytes: int) -> Iterator[pa.Table]:
    """Join tables while they fit: Arrow ends a batch wherever a dictionary ends."""
    waiting: list[pa.Table] = []
    for table in tables:
        if waiting and sum(part.nbytes for part in (*waiting, table)) > most_bytes:
            yield pa.concat_tables(waiting)
            waiting = []
        waiting.append(table)
    if waiting:
        yield pa.concat_tables(waiting)
