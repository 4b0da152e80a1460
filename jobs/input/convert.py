"""Write the tables of a run that are text files as Parquet, so that all that follows reads one format.

Only Parquet can be read in parts, and more than once, without reading the whole. The files are read once, a block of
lines at a time, and written below the output folder, where all nodes find them.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from posixpath import dirname

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.console import plural, say
from jobs.formats.text_tables.files import TEXT_SUFFIXES, TextFormat, TextTable, find_text_table
from jobs.formats.text_tables.names import REQUIRED, TableRole, with_our_names
from jobs.input.splits import run_offsets
from rerank.errors import InputError, OutputError
from rerank.paths import Location, locate
from rerank.ranking.candidates import CANDIDATES, combined
from rerank.store.folder import Folder

_SHOWN = 200

Parts = Callable[[Location], Iterator[pa.Table]]


class TextConverter:
    """Opens the tables of a run. `scratch` gives the folder to write to; it is asked only if there are text files.

    `columns` are the names of the columns of files without a header, by `TableRole.prefix`.
    """

    def __init__(self, scratch: Callable[[], Location], columns: Mapping[str, Sequence[str]] | None = None) -> None:
        self._scratch = scratch
        self._columns = columns or {}

    def open(self, uri: str, role: TableRole, renames: Mapping[str, str], *, queries: int | None = None) -> Location:
        """Return where the Parquet files of a table are, those of its text files if it has such; `uri` stays its name.

        `queries` is how many queries are wanted: reading may stop when there are more. Raises InputError. Raises
        OutputError if the Parquet files cannot be written.
        """
        location = locate(uri)
        table = find_text_table(location, self._columns.get(role.prefix, ()))
        if table is None:
            return location
        if table.format is TextFormat.TREC and role is TableRole.CANDIDATES:
            raise InputError(
                f"{uri}: a TREC run has no texts: give --corpus and --queries, or --beir with the folder of both"
            )
        if table.format is TextFormat.TREC and role is not TableRole.RUN:
            raise InputError(f"{uri}: is a TREC run by its name, expected the {role} as {TEXT_SUFFIXES} or Parquet")
        folder = self._scratch().join(f"{role}.parquet")
        say(f"reading {uri}: {plural(len(table.files), 'file')} of {table.format}")
        try:
            _convert(table, role, renames, folder, queries)
        except BaseException:
            Folder(folder.filesystem, folder.path).delete_all()
            raise
        return Location(uri, folder.filesystem, folder.path)


def _convert(
    table: TextTable, role: TableRole, renames: Mapping[str, str], folder: Location, queries: int | None
) -> None:
    numbers = [renames.get("score", "score")]

    def parts(file: Location) -> Iterator[pa.Table]:
        for number, part in enumerate(table.read(file, numbers=numbers)):
            named = with_our_names(part, role, renames)
            if number == 0 and table.has_header:
                _check_header(file, named.column_names, role, renames)
            yield named

    targets = [  # in the folders of their partitions, whose keys are columns
        folder.join(*table.partition_of(file), f"{number:05d}.parquet") for number, file in enumerate(table.files)
    ]
    schema, is_whole = _write(table.files, targets, parts, None, _Limit(queries, renames))
    if schema is None:
        raise InputError(f"{table.location.uri}: holds no rows")
    if not is_whole:  # later lines have other columns than the first ones: all of them are known now
        _write(table.files, targets, parts, schema, _Limit(queries, renames))


def _write(
    files: Sequence[Location],
    targets: Sequence[Location],
    parts: Parts,
    schema: pa.Schema | None,
    limit: "_Limit",
) -> tuple[pa.Schema | None, bool]:
    """Write each file as the Parquet file beside it in `targets`, with the schema of all parts, as far as it is known.

    Return the schema of all parts, and whether all are written with it. Nothing is written from the part on that does
    not fit the schema of those before it. Raises InputError if types contradict each other.
    """
    is_whole = True
    for file, target in zip(files, targets, strict=True):
        rows = 0
        with ExitStack() as opened:
            writer: pq.ParquetWriter | None = None
            for part in parts(file):
                unified = _unified(file, schema, part.schema, rows=(rows + 1, rows + part.num_rows))
                is_whole = is_whole and (schema is None or unified == schema)
                schema, rows = unified, rows + part.num_rows
                if is_whole:
                    writer = writer or opened.enter_context(_writer(target, schema))
                    writer.write_table(_fitted(part, schema))
                if limit.is_passed(part):
                    return schema, is_whole
    return schema, is_whole


def _unified(file: Location, before: pa.Schema | None, schema: pa.Schema, rows: tuple[int, int]) -> pa.Schema:
    if before is None:
        return schema
    try:
        return pa.unify_schemas([before, schema], promote_options="permissive")
    except pa.ArrowException as problem:
        raise InputError(
            f"{file.uri}: a column of rows {rows[0]:,} to {rows[1]:,} has another type than before them: {problem}"
        ) from problem


def _fitted(part: pa.Table, schema: pa.Schema) -> pa.Table:
    return pa.concat_tables([schema.empty_table(), part], promote_options="permissive")


@contextmanager
def _writer(target: Location, schema: pa.Schema) -> Iterator[pq.ParquetWriter]:
    try:
        target.filesystem.create_dir(dirname(target.path), recursive=True)
        with (
            target.filesystem.open_output_stream(target.path) as stream,
            pq.ParquetWriter(stream, schema, compression="zstd") as writer,
        ):
            yield writer
    except OSError as problem:
        raise OutputError(f"{target.uri}: cannot be written: {problem}") from problem


class _Limit:
    """Counts the queries that were read: rows of the `queries` layout, runs of equal ids of the `pairs` layout."""

    def __init__(self, most: int | None, renames: Mapping[str, str]) -> None:
        self._most = most
        self._query_id, self._candidates = (renames.get(name, name) for name in ("query_id", CANDIDATES))
        self._queries = 0
        self._last: pa.Scalar | None = None

    def is_passed(self, part: pa.Table) -> bool:
        """Return True if there are more queries than wanted, so that the last one wanted is whole."""
        if self._most is None or self._query_id not in part.column_names:
            return False
        ids = combined(part.column(self._query_id))
        if self._candidates in part.column_names:
            self._queries += part.num_rows
        else:
            is_continued = self._last is not None and ids[0].equals(self._last)
            self._queries += len(run_offsets(ids)) - 1 - is_continued
            self._last = ids[-1]
        return self._queries > self._most


def _check_header(file: Location, names: Sequence[str], role: TableRole, renames: Mapping[str, str]) -> None:
    missing = [name for name in REQUIRED[role] if renames.get(name, name) not in names]
    if missing:
        prefix = f"{role.prefix}=" if role.prefix else ""
        raise InputError(
            f"{file.uri}: line 1 names no column {missing[0]!r}, found {', '.join(names)[:_SHOWN]}; if the file has no "
            f"header, give --columns {prefix}{','.join(REQUIRED[role])}, its columns in their order"
        )
