"""Find and check candidate sets in Parquet before any row is read: files, layout, columns, row groups."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import groupby
from posixpath import basename

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.formats.columns import Kind, Layout, check_column, check_columns, describe, recognise, rename
from jobs.formats.parquet import list_parquet
from jobs.formats.slices import read_slices
from rerank.errors import InputError
from rerank.paths import Location, locate
from rerank.ranking.candidates import CANDIDATES
from rerank.sizes import narrow_type, wide_type

_FOOTER_THREADS = 16
_BYTES_PER_SLICE = 16 << 20
_ROWS_PER_RUN = 1_000_000

Groups = list[tuple[str, int, pq.RowGroupMetaData]]
"""Row groups with their file and their index in it."""


@dataclass(frozen=True, slots=True)
class RowGroup:
    """One row group that is not empty, or its first `rows` rows."""

    path: str
    index: int
    rows: int
    pairs: int
    bytes: int  # uncompressed
    is_whole: bool = True

    def head(self, rows: int) -> "RowGroup":
        """Return the first rows of the group; `pairs` is right only if each row is one pair."""
        if rows == self.rows:
            return self
        return replace(self, rows=rows, pairs=rows, bytes=self.bytes * rows // self.rows, is_whole=False)


@dataclass(frozen=True, slots=True)
class Source:
    """Checked files of candidate sets. `renames` maps our column names to those of the files.

    `schema` has our names, and strings without a limit of 2 GiB (`rerank.sizes.wide_type`).
    """

    location: Location
    layout: Layout
    schema: pa.Schema
    renames: dict[str, str]
    row_groups: tuple[RowGroup, ...]
    is_intermediate: bool = False  # written by an earlier step of the same run
    has_large_strings: bool = False  # in the files

    @property
    def pairs(self) -> int:
        """Candidates in all files, counted from the footers."""
        return sum(group.pairs for group in self.row_groups)

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
        for path, run in groupby(groups, key=lambda group: group.path):
            try:
                yield from self._slices(path, list(run), columns)
            except (OSError, pa.ArrowException) as problem:
                raise InputError(f"{path}: cannot be read: {problem}") from problem

    def _slices(self, path: str, groups: list[RowGroup], columns: list[str] | None) -> Iterator[pa.Table]:
        with self.location.filesystem.open_input_file(path) as stream:
            yield from read_slices(
                stream,
                [group.index for group in groups],
                most_bytes=_BYTES_PER_SLICE,
                columns=None if columns is None else [self.renames.get(name, name) for name in columns],
                fields=[field for field in self.schema if columns is None or field.name in columns],
                rows=sum(group.rows for group in groups),
            )


def open_source(uri: str | Location, *, layout: Layout | None = None, renames: dict[str, str] | None = None) -> Source:
    """Find and check the files behind a path, directory, glob or URI.

    `layout` None recognises the layout from the column types. Raises InputError that says what is missing.
    """
    location = locate(uri) if isinstance(uri, str) else uri
    schema, groups = _read_footers(location, list_parquet(location), renames := renames or {})
    chosen = layout or recognise(location.uri, schema)
    check_columns(location.uri, chosen, schema)
    return _source(location, chosen, schema, renames, groups)


def open_table(uri: str | Location, columns: dict[str, Kind], *, renames: dict[str, str] | None = None) -> Source:
    """Open a table that has at least these columns and need not hold candidate sets. Raises InputError."""
    location = locate(uri) if isinstance(uri, str) else uri
    schema, groups = _read_footers(location, list_parquet(location), renames := renames or {})
    for name, kind in columns.items():
        check_column(location.uri, schema, name, kind)
    return _source(location, Layout.PAIRS, schema, renames, groups)


def reopen_source(folder: Location, names: Sequence[str]) -> Source:
    """Open candidate sets that an earlier step wrote in the `queries` layout, whose reject reasons are trusted."""
    schema, groups = _read_footers(folder, [folder.join(name).path for name in names], {})
    return replace(_source(folder, Layout.QUERIES, schema, {}, groups), is_intermediate=True)


def _read_footers(location: Location, files: list[str], renames: dict[str, str]) -> tuple[pa.Schema, Groups]:
    """Return the schema that all files share, with our column names, and the row groups of all files."""
    with ThreadPoolExecutor(_FOOTER_THREADS) as pool:
        footers = list(pool.map(lambda path: _read_footer(location, path), files))
    schema = rename(location.uri, _common_schema(files, footers), renames)
    groups = [
        (path, index, footer.row_group(index))
        for path, footer in zip(files, footers, strict=True)
        for index in range(footer.num_row_groups)
    ]
    return schema, groups


def _source(location: Location, layout: Layout, schema: pa.Schema, renames: dict[str, str], groups: Groups) -> Source:
    row_groups = tuple(
        RowGroup(path, index, group.num_rows, _pairs(group, renames, layout), group.total_byte_size)
        for path, index, group in groups
        if group.num_rows
    )
    if not row_groups:
        raise InputError(f"{location.uri}: holds no rows")
    wide = pa.schema([field.with_type(wide_type(field.type)) for field in schema])
    is_narrow = all(narrow_type(kind) == kind for kind in schema.types)
    return Source(location, layout, wide, renames, row_groups, has_large_strings=not is_narrow)


def _read_footer(location: Location, path: str) -> pq.FileMetaData:
    try:
        return pq.read_metadata(path, filesystem=location.filesystem)
    except (pa.ArrowInvalid, OSError) as problem:
        raise InputError(f"{path}: not a readable Parquet file: {problem}") from problem


def _common_schema(files: list[str], footers: list[pq.FileMetaData]) -> pa.Schema:
    schema: pa.Schema = footers[0].schema.to_arrow_schema().remove_metadata()
    for path, footer in zip(files, footers, strict=True):
        other = footer.schema.to_arrow_schema().remove_metadata()
        if not other.equals(schema):
            raise InputError(
                f"all files must have the same columns, but {basename(files[0])} has {describe(schema)} "
                f"and {basename(path)} has {describe(other)}"
            )
    return schema


def _pairs(group: pq.RowGroupMetaData, renames: dict[str, str], layout: Layout) -> int:
    """Count the candidates in a row group; an empty or null list counts as one, since Parquet stores a value for it."""
    if layout is Layout.PAIRS:
        return int(group.num_rows)
    lists, doc_id = (renames.get(name, name) for name in (CANDIDATES, "doc_id"))
    columns = (group.column(index) for index in range(group.num_columns))
    paths = {column.path_in_schema: int(column.num_values) for column in columns}
    inner = [path for path in paths if path.startswith(f"{lists}.") and path.endswith(f".{doc_id}")]
    return paths[min(inner, key=lambda path: path.count("."))]
