"""Open the Parquet files of a table, and read rows of one file as rows of the table."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import fs

from jobs.formats.parquet import list_parquet, root_of
from jobs.formats.slices import read_slices
from jobs.formats.tables.hive import Keys, describe_keys, keys_of, type_of_values, value_as
from jobs.formats.tables.schemas import conform, unify
from rerank.errors import InputError
from rerank.paths import Location

_THREADS = 16
_ROWS_PER_TABLE = 100_000  # of a table that needs no column of the file


@dataclass(frozen=True, slots=True)
class TableFile:
    """One Parquet file of a table, with its footer, its schema and the keys of its partition."""

    path: str
    footer: pq.FileMetaData
    schema: pa.Schema
    keys: Keys = ()


@dataclass(frozen=True, slots=True)
class TableFiles:
    """The files of a table in name order. `schema` has all columns of all files, then the keys of partitions."""

    files: tuple[TableFile, ...]
    schema: pa.Schema
    key_names: tuple[str, ...] = ()


def open_files(location: Location, paths: Sequence[str] | None = None) -> TableFiles:
    """Open the Parquet files behind a path, directory, glob or URI, or the files at `paths`.

    Partitions are folders below the location. Raises InputError if a file cannot be read, if two files have types that
    do not fit together, or if a file has a column that differs from the key of its partition.
    """
    root = root_of(location)
    paths = list_parquet(location) if paths is None else paths

    def open_file(path: str) -> TableFile:
        return TableFile(path, *_footer(location, path), keys_of(root, path))

    with ThreadPoolExecutor(_THREADS) as pool:
        files = tuple(pool.map(open_file, paths))
        schema = unify(location.uri, {file.path: file.schema for file in files})
        list(pool.map(lambda file: _check_keys(location, file), files))
    values: dict[str, list[str | None]] = {}
    for file in files:
        for name, value in file.keys:
            values.setdefault(name, []).append(value)
    for name in values:
        if name not in schema.names:
            schema = schema.append(pa.field(name, type_of_values(values[name])))
    return TableFiles(files, schema, tuple(values))


def read_rows(
    filesystem: fs.FileSystem,
    path: str,
    groups: Sequence[int],
    fields: Sequence[pa.Field],
    *,
    keys: Keys = (),
    most_bytes: int,
    rows: int | None = None,
) -> Iterator[pa.Table]:
    """Yield row groups of a file as tables with these columns, of at most `most_bytes` bytes or of one row.

    `fields` are columns of the table, or of its lists only some fields; nothing else of the file is read. A column that
    the file lacks is the key of its partition, or null. `rows` is how many are read; None: all. Raises OSError and
    pa.ArrowException if the file cannot be read.
    """
    partition = dict(keys)
    with filesystem.open_input_file(path) as stream:
        metadata = pq.read_metadata(stream)
        columns = [path for field in fields for path in _paths(metadata.schema, field)]
        if columns:
            tables = read_slices(stream, groups, columns=columns, most_bytes=most_bytes, rows=rows)
            yield from (_as_table(table, table.num_rows, fields, partition) for table in tables)
            return
        left = sum(metadata.row_group(group).num_rows for group in groups) if rows is None else rows
        while left:
            yield _as_table(None, count := min(left, _ROWS_PER_TABLE), fields, partition)
            left -= count


def _paths(schema: pq.ParquetSchema, field: pa.Field) -> list[str]:
    """Return the paths in a file that lead to a column, or to those fields of its structs that its type has."""
    paths = [schema.column(at).path for at in range(len(schema))]
    inside = [path for path in paths if path == field.name or path.startswith(f"{field.name}.")]
    kind = getattr(field.type, "value_type", None)
    if kind is None or not pa.types.is_struct(kind):
        return inside
    names = {part.name for part in kind}
    return [path for path in inside if names.intersection(path.split(".")[1:])] or inside[:1]


def _as_table(
    read: pa.Table | None, rows: int, fields: Sequence[pa.Field], partition: Mapping[str, str | None]
) -> pa.Table:
    columns = []
    for field in fields:
        if read is not None and field.name in read.column_names:
            chunks = [conform(chunk, field.type) for chunk in read.column(field.name).chunks]
            columns.append(pa.chunked_array(chunks, field.type))
        else:
            columns.append(pa.repeat(value_as(partition.get(field.name), pa.string()), rows).cast(field.type))
    return pa.Table.from_arrays(columns, schema=pa.schema(fields))


def _footer(location: Location, path: str) -> tuple[pq.FileMetaData, pa.Schema]:
    """Return the footer of a file and its schema. The footer alone does not tell that bytes are UUIDs."""
    try:
        with location.filesystem.open_input_file(path) as stream:
            file = pq.ParquetFile(stream)
            return file.metadata, file.schema_arrow
    except (pa.ArrowInvalid, OSError) as problem:
        raise InputError(f"{path}: not a readable Parquet file: {problem}") from problem


def _check_keys(location: Location, file: TableFile) -> None:
    """Raise InputError if a file has a column with another value than the key of its partition."""
    for name, value in file.keys:
        if name not in file.schema.names:
            continue
        field = pa.field(name, file.schema.field(name).type)
        try:
            key = value_as(value, field.type)
        except pa.ArrowException:
            raise InputError(
                f"{file.path}: the folder says {describe_keys(((name, value),))}, but the column {name!r} of the file "
                f"is {field.type}"
            ) from None
        groups = range(file.footer.num_row_groups)
        for table in read_rows(location.filesystem, file.path, groups, [field], most_bytes=1 << 20):
            for other in pc.unique(table.column(name)):
                if not other.equals(key):
                    raise InputError(
                        f"{file.path}: the folder says {describe_keys(((name, value),))}, but the column {name!r} of "
                        f"the file has {other.as_py()!r}"
                    )
