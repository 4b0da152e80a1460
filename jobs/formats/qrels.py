"""Read and write judgements: Parquet, TREC files with four columns, tables with a header such as BEIR's."""

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import fs

from jobs.formats.text import read_lines, suffix_of, write_text
from rerank.errors import ConfigError, InputError
from rerank.paths import Location, locate

_BEIR_HEADER = ("query-id", "corpus-id", "score")
# Column names of this project and of ir_datasets, of BEIR, and of PyTerrier.
_NAMES = (("query_id", "doc_id", "relevance"), _BEIR_HEADER, ("qid", "docno", "label"))
_ACCEPTED = "; ".join(", ".join(names) for names in _NAMES)
_SEPARATORS = ("\t", ",", None)  # None: any white space

Rows = list[tuple[str, str, int]]
"""Judgements as (query_id, doc_id, relevance)."""


class QrelsFormat(StrEnum):
    """File format of judgements."""

    PARQUET = "parquet"
    TREC = "trec"
    BEIR = "beir"


@dataclass(frozen=True, slots=True)
class _Columns:
    """How the lines of a text file are read: `places` are those of query_id, doc_id and relevance."""

    separator: str | None
    count: int
    places: tuple[int, int, int]
    has_header: bool = False

    def split(self, line: str) -> list[str]:
        return next(csv.reader([line])) if self.separator == "," else line.split(self.separator)


_TREC = _Columns(None, 4, (0, 2, 3))


def read_qrels(uri: str, kind: QrelsFormat | None = None) -> dict[str, dict[str, int]]:
    """Read judgements as query_id → doc_id → relevance. Raises InputError.

    `kind` None goes by what the file declares. A name that ends in .parquet, or a folder, is Parquet. A text file is a
    table if its first line has the column names of `_NAMES`, in any order, separated by tabs, commas or white space.
    Without such a line it is a TREC file if it has four columns, `query_id 0 doc_id relevance`. BEIR is a table of
    three columns, whose header may be missing if `kind` says BEIR.
    """
    location = locate(uri)
    is_parquet = kind is QrelsFormat.PARQUET or (kind is None and _looks_like_parquet(location))
    rows = _parquet_rows(location) if is_parquet else _text_rows(location, kind)
    qrels: dict[str, dict[str, int]] = {}
    for query_id, doc_id, relevance in rows:
        if qrels.setdefault(query_id, {}).setdefault(doc_id, relevance) != relevance:
            raise InputError(f"{uri}: query_id {query_id!r} has two different judgements of doc_id {doc_id!r}")
    if not qrels:
        raise InputError(f"{uri}: holds no judgements")
    return qrels


def require_qrels(uri: str | None) -> str:
    """Return the `--qrels` option of a command that cannot work without it. Raises ConfigError where it is missing."""
    if uri is None:
        raise ConfigError(
            "--qrels is missing: give a file of judgements: Parquet, TREC qrels, or a table with a header"
        )
    return uri


def write_qrels(uri: str, qrels: Mapping[str, Mapping[str, int]]) -> None:
    """Write judgements as a BEIR table, which `read_qrels` reads. Raises OutputError."""
    rows = [(query_id, doc_id, str(grade)) for query_id, judged in qrels.items() for doc_id, grade in judged.items()]
    write_text(locate(uri), "".join("\t".join(row) + "\n" for row in (_BEIR_HEADER, *rows)))


def _looks_like_parquet(location: Location) -> bool:
    return suffix_of(location.path) == ".parquet" or location.info().type == fs.FileType.Directory


def _parquet_rows(location: Location) -> Rows:
    try:
        table = pq.read_table(location.path, filesystem=location.filesystem, partitioning=None)
    except (pa.ArrowInvalid, OSError) as problem:
        raise InputError(f"{location.uri}: not readable as Parquet: {problem}") from problem
    names = next((names for names in _NAMES if set(names) <= set(table.column_names)), None)
    if names is None:
        raise InputError(
            f"{location.uri}: judgements must have the columns {_ACCEPTED}; found {', '.join(table.column_names)}"
        )
    relevance = table.column(names[2])
    if not (pa.types.is_integer(relevance.type) or pa.types.is_floating(relevance.type)):
        raise InputError(f"{location.uri}: column {names[2]!r} must hold whole numbers, found {relevance.type}")
    table = table.select(names).drop_null()
    try:
        grades = pc.cast(table.column(names[2]), pa.int64()).to_pylist()
    except pa.ArrowInvalid as problem:
        raise InputError(f"{location.uri}: column {names[2]!r} must hold whole numbers: {problem}") from None
    query_ids, doc_ids = (table.column(name).cast(pa.large_string()).to_pylist() for name in names[:2])
    return list(zip(query_ids, doc_ids, grades, strict=True))


def _text_rows(location: Location, kind: QrelsFormat | None) -> Rows:
    lines = read_lines(location)
    first = next(lines, None)
    if first is None:
        return []
    columns = _columns(location, first[1], kind)
    return list(_parsed(location, columns, lines if columns.has_header else chain([first], lines)))


def _columns(location: Location, line: str, kind: QrelsFormat | None) -> _Columns:
    """Return how the file is read, from its first line. Raises InputError if that does not say it."""
    if kind is QrelsFormat.TREC:
        return _TREC
    for columns in (_Columns(separator, 0, (0, 1, 2)) for separator in _SEPARATORS):
        header = columns.split(line)
        names = next((names for names in _NAMES if set(names) <= set(header)), None)
        if names is not None:
            at = [header.index(name) for name in names]
            return _Columns(columns.separator, len(header), (at[0], at[1], at[2]), has_header=True)
        if kind is QrelsFormat.BEIR and len(header) == 3:
            return _Columns(columns.separator, 3, (0, 1, 2))
    count = len(line.split())
    if kind is None and count == 4:
        return _TREC
    raise InputError(
        f"{location.uri}: line 1 does not say how the judgements are written: expected the 4 columns of TREC, query_id "
        f"0 doc_id relevance, or a header with {_ACCEPTED}; found {line[:80]!r}. --qrels-format beir reads 3 columns "
        "without a header, query_id, doc_id and relevance; --qrels-format parquet reads Parquet of any name"
    )


def _parsed(location: Location, columns: _Columns, lines: Iterator[tuple[int, str]]) -> Iterator[tuple[str, str, int]]:
    query_id, doc_id, relevance = columns.places
    for number, line in lines:
        fields = columns.split(line)
        if len(fields) != columns.count:
            expected = "4 columns, query_id 0 doc_id relevance" if columns is _TREC else f"{columns.count} columns"
            raise InputError(
                f"{location.uri}: line {number}: expected judgements in {expected}; found {len(fields)}: {line[:80]!r}"
            )
        yield fields[query_id], fields[doc_id], _relevance(location, number, fields[relevance])


def _relevance(location: Location, number: int, text: str) -> int:
    """Return a whole number, which some tools write as 1.0."""
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not value.is_integer():
        raise InputError(f"{location.uri}: line {number}: relevance must be a whole number, got {text!r}")
    return int(value)
