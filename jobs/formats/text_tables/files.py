"""Find the text files of a table and read them: their names say the format."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from posixpath import relpath

import pyarrow as pa
from pyarrow import fs

from jobs.formats.parquet import list_files, root_of
from jobs.formats.text import PACKED, suffix_of
from jobs.formats.text_tables.delimited import read_delimited
from jobs.formats.text_tables.json_lines import read_json_lines
from jobs.formats.trec import RUN_SUFFIXES, read_run_lines
from rerank.errors import ConfigError, InputError
from rerank.paths import Location


class TextFormat(StrEnum):
    """Format of a text file."""

    JSON_LINES = "JSON lines"
    CSV = "CSV"
    TSV = "TSV"
    TREC = "a TREC run"


_SUFFIXES = {
    ".jsonl": TextFormat.JSON_LINES,
    ".ndjson": TextFormat.JSON_LINES,
    ".json": TextFormat.JSON_LINES,
    ".csv": TextFormat.CSV,
    ".tsv": TextFormat.TSV,
}
TEXT_SUFFIXES = ", ".join(_SUFFIXES)
_LISTED = tuple(f"{suffix}{packed}" for suffix in _SUFFIXES for packed in ("", *PACKED))


@dataclass(frozen=True, slots=True)
class TextTable:
    """The text files of one table, all of one format. `names` are those of the columns if the files have no header."""

    location: Location
    format: TextFormat
    files: tuple[Location, ...]
    names: tuple[str, ...] = ()

    @property
    def has_header(self) -> bool:
        """Return True if the first line of each file has the names of the columns."""
        return not self.names and self.format in (TextFormat.CSV, TextFormat.TSV)

    def partition_of(self, file: Location) -> tuple[str, ...]:
        """Return the folders of a Hive partition that one of the files lies in, such as `date=2026-01-01`."""
        folders = relpath(file.path, root_of(self.location)).split("/")[:-1]
        return tuple(folder for folder in folders if "=" in folder)

    def read(self, file: Location, *, numbers: Sequence[str] = ()) -> Iterator[pa.Table]:
        """Yield the rows of one of the files, in tables of a few megabytes. Raises InputError that names the line.

        The columns of CSV and TSV are strings, but for `numbers`. The types of JSON lines may differ between tables.
        """
        if self.format is TextFormat.JSON_LINES:
            yield from read_json_lines(file)
        elif self.format is TextFormat.TREC:
            yield from read_run_lines(file)
        else:
            is_csv = self.format is TextFormat.CSV
            yield from read_delimited(file, is_csv=is_csv, names=self.names or None, numbers=numbers)


def find_text_table(location: Location, names: Sequence[str] = ()) -> TextTable | None:
    """Return the text files behind a path, directory, glob or URI; None if they are Parquet.

    A file of another name than those of a text format is TSV if `names` has the names of its columns. A folder is
    Parquet if there is a Parquet file in it. Raises InputError if there are no files or files of several formats, and
    ConfigError if the files have no use for `names`.
    """
    is_file = location.info().type == fs.FileType.File
    paths = [location.path] if is_file else list_files(location, (".parquet", *_LISTED))
    if any(path.endswith(".parquet") for path in paths):
        formats = set()
    else:
        formats = {file_format for path in paths if (file_format := _format_of(path, names)) is not None}
    if len(formats) > 1:
        raise InputError(
            f"{location.uri}: holds files of several formats ({', '.join(sorted(formats))}), expected one table; "
            "name the files of one table, for example with a glob such as 'folder/*.jsonl'"
        )
    if names and formats.isdisjoint({TextFormat.CSV, TextFormat.TSV}):
        raise ConfigError(f"--columns names the columns of CSV and TSV files without a header; {location.uri} is none")
    if not formats:
        return None
    files = [location] if is_file else [_inside(location, path) for path in paths]
    return TextTable(location, formats.pop(), tuple(files), tuple(names))


def _format_of(path: str, names: Sequence[str]) -> TextFormat | None:
    suffix = suffix_of(path)
    if suffix in _SUFFIXES:
        return _SUFFIXES[suffix]
    if suffix in RUN_SUFFIXES and not names:
        return TextFormat.TREC
    return TextFormat.TSV if names else None


def _inside(location: Location, path: str) -> Location:
    """Return a file of a folder or a glob, under a name that tells where it lies."""
    named = relpath(path, location.path) if path.startswith(f"{location.path}/") else path
    return Location(f"{location.uri}: {named}", location.filesystem, path)
