"""Read and write judgements: Parquet, TREC files with four columns, BEIR tables with a header."""

from collections.abc import Mapping
from enum import StrEnum

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.formats.text import read_lines, suffix_of, write_text
from rerank.errors import ConfigError, InputError
from rerank.paths import Location, locate

_SUFFIXES = {".parquet": "parquet", ".tsv": "beir", ".qrels": "trec", ".qrel": "trec", ".trec": "trec", ".txt": "trec"}
_BEIR_HEADER = ("query-id", "corpus-id", "score")
_COLUMNS = (("query_id", "doc_id", "relevance"), _BEIR_HEADER)


class QrelsFormat(StrEnum):
    """File format of judgements."""

    PARQUET = "parquet"
    TREC = "trec"
    BEIR = "beir"


def read_qrels(uri: str, kind: QrelsFormat | None = None) -> dict[str, dict[str, int]]:
    """Read judgements as query_id → doc_id → relevance; `kind` None goes by the file's suffix. Raises InputError.

    Parquet has the columns query_id, doc_id, relevance (or BEIR's query-id, corpus-id, score). A TREC file has lines
    `query_id 0 doc_id relevance`. A BEIR file has tab-separated columns with a header: query-id, corpus-id, score.
    """
    location = locate(uri)
    readers = {QrelsFormat.PARQUET: _parquet_rows, QrelsFormat.TREC: _trec_rows, QrelsFormat.BEIR: _beir_rows}
    rows = readers[kind or _by_suffix(uri)](location)
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
        raise ConfigError("--qrels is missing: give a file of judgements, .parquet, .tsv (BEIR) or .qrels (TREC)")
    return uri


def write_qrels(uri: str, qrels: Mapping[str, Mapping[str, int]]) -> None:
    """Write judgements as a BEIR table, which `read_qrels` reads from a .tsv file. Raises OutputError."""
    rows = [(query_id, doc_id, str(grade)) for query_id, judged in qrels.items() for doc_id, grade in judged.items()]
    write_text(locate(uri), "".join("\t".join(row) + "\n" for row in (_BEIR_HEADER, *rows)))


def _by_suffix(uri: str) -> QrelsFormat:
    suffix = suffix_of(uri)
    if suffix not in _SUFFIXES:
        raise InputError(
            f"{uri}: unknown suffix {suffix!r} for judgements: expected .parquet, .tsv (BEIR) or .qrels, .trec, .txt "
            "(TREC); for any other name give --qrels-format parquet, trec or beir"
        )
    return QrelsFormat(_SUFFIXES[suffix])


def _parquet_rows(location: Location) -> list[tuple[str, str, int]]:
    try:
        table = pq.read_table(location.path, filesystem=location.filesystem, partitioning=None)
    except (pa.ArrowInvalid, OSError) as problem:
        raise InputError(f"{location.uri}: not readable as Parquet: {problem}") from problem
    names = next((names for names in _COLUMNS if set(names) <= set(table.column_names)), None)
    if names is None:
        names_found = ", ".join(table.column_names)
        raise InputError(
            f"{location.uri}: judgements must have the columns query_id, doc_id, relevance; found {names_found}"
        )
    kind = table.schema.field(names[2]).type
    if not pa.types.is_integer(kind):
        raise InputError(f"{location.uri}: column {names[2]!r} must hold whole numbers, found {kind}")
    table = table.select(names).drop_null()
    query_ids, doc_ids = (table.column(name).cast(pa.large_string()).to_pylist() for name in names[:2])
    return list(zip(query_ids, doc_ids, table.column(names[2]).to_pylist(), strict=True))


def _trec_rows(location: Location) -> list[tuple[str, str, int]]:
    rows = []
    for number, line in read_lines(location):
        fields = line.split()
        if len(fields) != 4:
            raise InputError(
                f"{location.uri}: line {number}: TREC judgements have 4 columns, query_id 0 doc_id relevance; "
                f"found {len(fields)}: {line[:80]!r}"
            )
        rows.append((fields[0], fields[2], _relevance(location, number, fields[3])))
    return rows


def _beir_rows(location: Location) -> list[tuple[str, str, int]]:
    rows = []
    for number, line in read_lines(location):
        fields = line.split("\t")
        if len(fields) != 3 or (number == 1 and fields != list(_BEIR_HEADER)):
            raise InputError(
                f"{location.uri}: line {number}: BEIR judgements have a header and 3 tab-separated columns, query-id, "
                f"corpus-id, score; found {line[:80]!r}"
            )
        if number > 1:
            rows.append((fields[0], fields[1], _relevance(location, number, fields[2])))
    return rows


def _relevance(location: Location, number: int, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise InputError(f"{location.uri}: line {number}: relevance must be a whole number, got {text!r}") from None
