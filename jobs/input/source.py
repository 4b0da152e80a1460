"""Find and check candidate sets in Parquet before any row is read: files, layout, columns, row groups."""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jobs.formats.columns import Kind, Layout, check_column, check_columns, recognise, rename, with_text_types
from jobs.formats.tables.files import TableFiles, open_files, read_rows
from jobs.formats.tables.hive import Keys
from rerank.arrays import IntArray, Offsets, offsets_of
from rerank.errors import InputError
from rerank.paths import Location, locate
from rerank.ranking.candidates import CANDIDATES
from rerank.ranking.output_columns import renamed_fields, renamed_query_columns
from rerank.ranking.vectors import VECTORS
from rerank.sizes import narrow_type, wide_type
from rerank.tables.prepared import INTERNAL_COLUMNS

_BYTES_PER_SLICE = 16 << 20
_ROWS_PER_RUN = 1_000_000
_FLOAT_BYTES = {"FIXED_LEN_BYTE_ARRAY": 2, "FLOAT": 4, "DOUBLE": 8}  # by Parquet's type; float16 has none of its own
_OF_CANDIDATES = ("doc_id", "text", "score")


@dataclass(frozen=True, slots=True)
class RowGroup:
    """One row group that is not empty, or its first `rows` rows."""

    path: str
    index: int
    rows: int
    pairs: int
    bytes: int  # uncompressed
    is_whole: bool = True
    keys: Keys = ()  # of its partition

    def head(self, rows: int) -> "RowGroup":
        """Return the first rows of the group; `pairs` is right only if each row is one pair."""
        if rows == self.rows:
            return self
        return replace(self, rows=rows, pairs=rows, bytes=self.bytes * rows // self.rows, is_whole=False)


@dataclass(frozen=True, slots=True)
class Partitions:
    """Partitions of a table by number: the rows from `first_rows[i]` on lie in partition `numbers[i]`."""

    first_rows: Offsets
    numbers: IntArray

    def of_rows(self, rows: Offsets) -> IntArray:
        """Return the partition of each row of the table, counted from 0."""
        return self.numbers[np.searchsorted(self.first_rows, rows, side="right") - 1]


@dataclass(frozen=True, slots=True)
class Source:
    """Checked files of candidate sets.

    `schema` has our names, and strings without a limit of 2 GiB (`rerank.sizes.wide_type`). `stored` has the same
    columns with their names in the files. `key_names` are the columns of `schema` that are keys of
    partitions, and belong to a query.
    """

    location: Location
    layout: Layout
    schema: pa.Schema
    stored: pa.Schema
    row_groups: tuple[RowGroup, ...]
    key_names: tuple[str, ...] = ()
    renamed: dict[str, str] = dataclasses.field(default_factory=dict)  # of columns called like one of the output
    vector_bytes: int = 0  # of the vectors that a candidate brings, on average
    is_intermediate: bool = False  # written by an earlier step of the same run
    has_large_strings: bool = False  # in the files

    @property
    def pairs(self) -> int:
        """Candidates in all files, counted from the footers."""
        return sum(group.pairs for group in self.row_groups)

    @property
    def partitions(self) -> Partitions:
        """Partitions of the rows, numbered by first appearance."""
        numbers: dict[Keys, int] = {}
        of_groups = [numbers.setdefault(group.keys, len(numbers)) for group in self.row_groups]
        return Partitions(offsets_of([group.rows for group in self.row_groups])[:-1], np.array(of_groups, np.int32))

    def runs(self, count: int) -> list[tuple[RowGroup, ...]]:
        """Return the row groups in order as `count` runs or more, each within one file and of at most a million rows.

        Opening a file parses the metadata of all its row groups, so reading them one by one would be quadratic.
        """
        groups_per_run = _ROWS_PER_RUN * len(self.row_groups) // sum(group.rows for group in self.row_groups)
        most = max(1, min(len(self.row_groups) // count, groups_per_run))
        files = (tuple(groups) for _, groups in groupby(self.row_groups, key=lambda group: group.path))
        return [groups[start : start + most] for groups in files for start in range(0, len(groups), most)]

    def read(self, *groups: RowGroup, columns: list[str] | None = None) -> Iterator[pa.Table]:
        """Read row groups in slices of bounded size in memory, with our column names. Raises InputError.

        `columns` None reads all columns. Only the last row group may be a shortened one.
        """
        chosen = [at for at, name in enumerate(self.schema.names) if columns is None or name in columns]
        schema = pa.schema([self.schema.field(at) for at in chosen])
        for table in self._read(groups, [self.stored.field(at) for at in chosen]):
            yield _renamed(table, schema)

    def read_doc_ids(self, *groups: RowGroup) -> Iterator[pa.Array]:
        """Read the doc_ids of candidates (`queries` layout), and nothing else of them. Raises InputError."""
        at = self.schema.names.index(CANDIDATES)
        place = self.schema.field(at).type.value_type.get_field_index("doc_id")
        doc_id = self.stored.field(at).type.value_type.field(place)
        for table in self._read(groups, [self.stored.field(at).with_type(pa.list_(pa.struct([doc_id])))]):
            yield from (lists.flatten().field(0) for lists in table.column(0).chunks)

    def _read(self, groups: Sequence[RowGroup], fields: Sequence[pa.Field]) -> Iterator[pa.Table]:
        for path, run in groupby(groups, key=lambda group: group.path):
            chosen = list(run)
            try:
                yield from read_rows(
                    self.location.filesystem,
                    path,
                    [group.index for group in chosen],
                    fields,
                    keys=chosen[0].keys,
                    most_bytes=_BYTES_PER_SLICE,
                    rows=sum(group.rows for group in chosen),
                )
            except (OSError, pa.ArrowException) as problem:
                raise InputError(f"{path}: cannot be read: {problem}") from problem


def open_source(uri: str | Location, *, layout: Layout | None = None, renames: dict[str, str] | None = None) -> Source:
    """Find and check the files behind a path, directory, glob or URI.

    `layout` None recognises the layout from the column types. Raises InputError that says what is missing.
    """
    location = locate(uri) if isinstance(uri, str) else uri
    files = open_files(location)
    schema = rename(location.uri, files.schema, renames or {})
    chosen = layout or recognise(location.uri, schema)
    check_columns(location.uri, chosen, schema)
    if chosen is Layout.QUERIES:
        return without_output_names(_source(location, chosen, schema, files), of_queries=schema.names)
    return without_output_names(_source(location, chosen, schema, files))


def open_table(uri: str | Location, columns: dict[str, Kind], *, renames: dict[str, str] | None = None) -> Source:
    """Open a table that has at least these columns and need not hold candidate sets. Raises InputError."""
    location = locate(uri) if isinstance(uri, str) else uri
    files = open_files(location)
    schema = rename(location.uri, files.schema, renames or {})
    for name, kind in columns.items():
        check_column(location.uri, schema, name, kind)
    return _source(location, Layout.PAIRS, schema, files)


def without_output_names(source: Source, *, of_queries: Iterable[str] | None = None, has_scores: bool = True) -> Source:
    """Return the source without columns that are called like one of the output; they get other names.

    `of_queries` are the columns that belong to a query; None: those of the `pairs` layout. `has_scores`: a column
    `score` of candidates is that of the first stage.
    """
    own = ("query_id", "query", *source.key_names) if of_queries is None else tuple(of_queries)
    others = [name for name in source.schema.names if name not in own]
    renamed = renamed_query_columns(own, internal=INTERNAL_COLUMNS)
    if source.layout is Layout.QUERIES:
        renamed.pop(CANDIDATES)
    renamed |= renamed_fields(others, internal=INTERNAL_COLUMNS, has_scores=has_scores)
    fields = [field.with_name(renamed.get(field.name, field.name)) for field in source.schema]
    keys = tuple(renamed.get(name, name) for name in source.key_names)
    if source.layout is Layout.QUERIES:
        at = source.schema.names.index(CANDIDATES)
        lists = fields[at].type
        inner = renamed_fields([part.name for part in lists.value_type], internal=INTERNAL_COLUMNS)
        parts = pa.struct([part.with_name(inner.get(part.name, part.name)) for part in lists.value_type])
        fields[at] = fields[at].with_type(pa.list_(parts) if pa.types.is_list(lists) else pa.large_list(parts))
        renamed |= inner
    return replace(source, schema=pa.schema(fields), key_names=keys, renamed=renamed)


def reopen_source(folder: Location, names: Sequence[str]) -> Source:
    """Open candidate sets that an earlier step wrote in the `queries` layout, whose reject reasons are trusted."""
    files = open_files(folder, [folder.join(name).path for name in names])
    return replace(_source(folder, Layout.QUERIES, files.schema, files), is_intermediate=True)


def _source(location: Location, layout: Layout, schema: pa.Schema, files: TableFiles) -> Source:
    doc_id = None if layout is Layout.PAIRS else _doc_id_path(schema, files.schema)
    row_groups = tuple(
        RowGroup(file.path, index, group.num_rows, _pairs(group, doc_id), group.total_byte_size, keys=file.keys)
        for file in files.files
        for index, group in ((at, file.footer.row_group(at)) for at in range(file.footer.num_row_groups))
        if group.num_rows
    )
    if not row_groups:
        raise InputError(f"{location.uri}: holds no rows")
    schema, stored = with_text_types(schema, schema), with_text_types(files.schema, schema)
    is_narrow = all(narrow_type(kind) == kind for kind in schema.types)
    vectors = _vectors_name(layout, schema, stored)
    vector_bytes = sum(
        _vector_bytes(file.footer.row_group(at), vectors)
        for file in files.files
        for at in range(file.footer.num_row_groups)
    )
    keys = [
        name for name, stored_name in zip(schema.names, stored.names, strict=True) if stored_name in files.key_names
    ]
    keys = [name for name in keys if name not in _OF_CANDIDATES]
    return Source(
        location,
        layout,
        _wide(schema),
        _wide(stored),
        row_groups,
        key_names=tuple(keys),
        vector_bytes=vector_bytes // max(1, sum(group.pairs for group in row_groups)),
        has_large_strings=not is_narrow,
    )


def _wide(schema: pa.Schema) -> pa.Schema:
    return pa.schema([field.with_type(wide_type(field.type)) for field in schema])


def _renamed(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return a table with other names of columns and of struct fields, in the same places."""
    columns = [
        column if column.type == kind else pa.chunked_array([chunk.view(kind) for chunk in column.chunks], kind)
        for column, kind in zip(table.columns, schema.types, strict=True)
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def _vectors_name(layout: Layout, schema: pa.Schema, stored: pa.Schema) -> str:
    """Return the name in the files of the vectors that candidates bring."""
    if layout is Layout.QUERIES:
        at = schema.names.index(CANDIDATES)
        schema, stored = (pa.schema(list(each.field(at).type.value_type)) for each in (schema, stored))
    place = schema.get_field_index(VECTORS)
    return VECTORS if place < 0 else str(stored.names[place])


def _vector_bytes(group: pq.RowGroupMetaData, name: str) -> int:
    """Return the bytes in memory of the vectors in a row group."""
    columns = (group.column(index) for index in range(group.num_columns))
    return sum(
        int(column.num_values) * _FLOAT_BYTES.get(column.physical_type, 0)
        for column in columns
        if name in column.path_in_schema.split(".")
    )


def _doc_id_path(schema: pa.Schema, stored: pa.Schema) -> tuple[str, str]:
    """Return the names in the files of the candidates and of the doc_id inside them."""
    at = schema.names.index(CANDIDATES)
    place = schema.field(at).type.value_type.get_field_index("doc_id")
    return stored.names[at], stored.field(at).type.value_type.field(place).name


def _pairs(group: pq.RowGroupMetaData, doc_id: tuple[str, str] | None) -> int:
    """Count the candidates in a row group; an empty or null list counts as one, since Parquet stores a value for it.

    `doc_id` are the names of the candidates and of the doc_id inside; None: each row is one pair. A file whose
    candidates lack doc_ids, or are null, is counted by another of their fields.
    """
    if doc_id is None:
        return int(group.num_rows)
    lists, name = doc_id
    columns = (group.column(index) for index in range(group.num_columns))
    counts = {column.path_in_schema: int(column.num_values) for column in columns}
    inside = [path for path in counts if path == lists or path.startswith(f"{lists}.")]
    if not inside:
        return int(group.num_rows)
    return counts[min(inside, key=lambda path: (not path.endswith(f".{name}"), path.count(".")))]
