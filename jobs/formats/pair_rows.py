"""Read Parquet as one row per pair, whatever its layout: ranked output, candidate sets, plain runs."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain

import pyarrow as pa
import pyarrow.compute as pc

from jobs.formats.columns import text_type
from jobs.formats.tables.files import TableFile, open_files, read_rows
from jobs.formats.tables.hive import Keys, describe_keys
from rerank.errors import InputError
from rerank.paths import Location
from rerank.ranking.candidates import CANDIDATES, CandidateSets
from rerank.sizes import wide_type

_BYTES_PER_SLICE = 16 << 20
_THREADS = 4  # each reads a file


def pair_columns(location: Location, renames: Mapping[str, str] | None = None) -> dict[str, pa.DataType]:
    """Return the columns that each pair has, those of its query included: our name → type. Raises InputError."""
    fields = {field.name: field.type for field in open_files(location).schema}
    lists = fields.pop((renames or {}).get(CANDIDATES, CANDIDATES), None)
    fields |= {field.name: field.type for field in _fields_inside(lists)}
    for name, file_name in (renames or {}).items():
        if file_name not in fields and not (name == CANDIDATES and lists):
            raise InputError(f"{location.uri}: no column {file_name!r} to read as {name!r}; found {', '.join(fields)}")
    our_names = {file_name: name for name, file_name in (renames or {}).items()}
    fields = {our_names.get(name, name): kind for name, kind in fields.items()}
    for name in ("query_id", "doc_id"):
        if name not in fields:
            raise InputError(f"{location.uri}: column {name!r} is missing, found {', '.join(fields) or 'no columns'}")
    return fields


def fitting(location: Location, renames: Mapping[str, str]) -> dict[str, str]:
    """Return the renames whose columns exist: a file may have the column names of the run's input, or ours."""
    schema = open_files(location).schema
    inner = [field.name for kind in schema.types for field in _fields_inside(kind)]
    return {name: file_name for name, file_name in renames.items() if file_name in {*schema.names, *inner}}


def read_pairs(
    location: Location,
    names: Sequence[str],
    *,
    renames: Mapping[str, str] | None = None,
    only: Sequence[str] | None = None,
) -> pa.Table:
    """Read `query_id, doc_id` as large_string and the named columns, in file order, without pairs that lack an id.

    `renames` maps our names to those of the file. `only` keeps the pairs of these query ids; other pairs are filtered
    while reading and never held in memory. Raises InputError, also if a query_id is in two Hive partitions.
    """
    files = open_files(location)
    columns = list(dict.fromkeys(("query_id", "doc_id", *names)))
    file_columns = [(renames or {}).get(name, name) for name in columns]
    lists = (renames or {}).get(CANDIDATES, CANDIDATES)
    our_names = dict(zip(file_columns, columns, strict=True))
    fields = [_as_read(field, our_names) for field in _chosen(files.schema, lists, file_columns)]
    kept = None if only is None else pa.array(only, pa.large_string())

    def read(file: TableFile) -> list[pa.Table]:
        return list(_read_file(location, file, fields, lists, file_columns, kept))

    empty = _flattened(pa.schema(fields).empty_table(), lists, file_columns)
    try:
        with ThreadPoolExecutor(_THREADS) as pool:
            by_file = list(pool.map(read, files.files))
        table = pa.concat_tables([*empty, *chain.from_iterable(by_file)]).rename_columns(columns)
        table.validate(full=True)  # that strings are UTF-8
    except (pa.ArrowException, OSError) as problem:
        raise InputError(f"{location.uri}: cannot be read: {problem}") from problem
    for at in (0, 1):
        table = table.set_column(at, columns[at], table.column(at).cast(pa.large_string()))
    if files.key_names:
        _check_partitions(location, [file.keys for file in files.files], by_file, file_columns[0])
    return table.filter(pc.and_(pc.is_valid(table.column(0)), pc.is_valid(table.column(1))))


def _read_file(
    location: Location,
    file: TableFile,
    fields: Sequence[pa.Field],
    lists: str,
    columns: Sequence[str],
    kept: pa.Array | None,
) -> Iterator[pa.Table]:
    """Yield the pairs of a file with these columns, of the queries `kept`."""
    groups = range(file.footer.num_row_groups)
    for table in read_rows(location.filesystem, file.path, groups, fields, keys=file.keys, most_bytes=_BYTES_PER_SLICE):
        if kept is not None:
            table = table.filter(pc.is_in(table.column(columns[0]).cast(pa.large_string()), value_set=kept))
        yield from _flattened(table, lists, columns)


def _chosen(schema: pa.Schema, lists: str, columns: Sequence[str]) -> Iterator[pa.Field]:
    """Yield the fields with these names, and the lists of candidates with only the fields that have these names.

    Candidates may repeat the id or the text of their query; the query's own are read.
    """
    of_queries = set(schema.names).intersection(columns[:1]) | {"query"}.intersection(schema.names)
    for field in schema:
        inner = _fields_inside(field.type) if field.name == lists else []
        if inner:
            of_candidates = set(columns).difference(of_queries)
            yield field.with_type(pa.list_(pa.struct([part for part in inner if part.name in of_candidates])))
        elif field.name in columns:
            yield field


def _flattened(table: pa.Table, lists: str, columns: Sequence[str]) -> Iterator[pa.Table]:
    """Yield one row per candidate with these columns."""
    if lists not in table.column_names:
        yield table.select(columns)
        return
    names = [CANDIDATES if name == lists else name for name in table.column_names]
    sets = CandidateSets.from_table(table.rename_columns(names))
    for rows in sets.to_row_slices(_BYTES_PER_SLICE):
        yield rows.select(columns)


def _check_partitions(location: Location, keys: Sequence[Keys], by_file: Sequence[list[pa.Table]], name: str) -> None:
    """Raise InputError if a query_id is in two partitions: nothing tells which of its pairs are ranked together."""
    partition_of: dict[object, Keys] = {}
    for of_file, tables in zip(keys, by_file, strict=True):
        query_ids = (query_id for table in tables for query_id in table.column(name).unique().drop_null().to_pylist())
        for query_id in query_ids:
            first = partition_of.setdefault(query_id, of_file)
            if first != of_file:
                raise InputError(
                    f"{location.uri}: query_id {query_id!r} is in two partitions, {describe_keys(first)} and "
                    f"{describe_keys(of_file)}; give the folder of one of them"
                )


def count_pairs(location: Location, renames: Mapping[str, str] | None = None) -> int:
    """Count the pairs from the Parquet footers; an empty list counts as one. Raises InputError."""
    doc_id = (renames or {}).get("doc_id", "doc_id")
    footers = (file.footer for file in open_files(location).files)
    groups = (footer.row_group(at) for footer in footers for at in range(footer.num_row_groups))
    columns = ([group.column(at) for at in range(group.num_columns)] for group in groups)
    return sum(next(int(c.num_values) for c in of if c.path_in_schema.split(".")[-1] == doc_id) for of in columns)


def _fields_inside(lists: pa.DataType | None) -> list[pa.Field]:
    """Return the fields of a list of structs; no fields for any other type."""
    inner = getattr(lists, "value_type", None)
    return list(inner) if inner is not None and pa.types.is_struct(inner) else []


def _as_read(field: pa.Field, our_names: Mapping[str, str]) -> pa.Field:
    """Return a field with the type that it is read as: ids and texts are strings, and all strings are wide."""
    inner = _fields_inside(field.type)
    if inner:
        return field.with_type(pa.list_(pa.struct([_as_read(part, our_names) for part in inner])))
    return field.with_type(wide_type(text_type(our_names.get(field.name, field.name), field.type)))
