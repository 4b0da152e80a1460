"""Read rankings from files: ranked output, candidate sets in first-stage order, plain Parquet runs, TREC run files."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import fs

from jobs.evaluation.measures import Ranking, Values
from jobs.formats.pair_rows import count_pairs, pair_columns, read_pairs
from jobs.formats.text import suffix_of
from jobs.formats.trec import RUN_SUFFIXES, read_run_lines
from jobs.pipeline.staging import ERRORS
from rerank.errors import ConfigError, InputError
from rerank.paths import Location, locate
from rerank.ranking.candidates import combined
from rerank.tables.published import MANIFEST, check_finished, read_unchanged


class RunFormat(StrEnum):
    """File format of a run. For Parquet the columns tell ranked output from candidate sets and plain runs."""

    PARQUET = "parquet"
    TREC = "trec"


@dataclass(frozen=True, slots=True)
class Run:
    """Documents of each query, best first.

    `first_stage` is the order before reranking, if the file has all of it. `cut` is True if it has only a part.
    """

    name: str
    ranking: Ranking
    first_stage: Ranking | None = None
    cut: bool = False


def read_run(uri: str, kind: RunFormat | None = None, renames: Mapping[str, str] | None = None) -> Run:
    """Read a run; `kind` None goes by the suffix, and a folder is Parquet. Raises InputError or ConfigError.

    `renames` maps our column names to those of the Parquet files. Parquet with `rank` and `source_rank` is our ranked
    output. With `text` or lists of candidates it is candidate sets in first-stage order. Otherwise it is sorted by
    `rank` or by `score`. A TREC file is sorted as trec_eval does: by score, ignoring its rank column, and equal scores
    by descending doc_id. An output folder that is replaced meanwhile is read again.
    """
    location = locate(uri)
    if kind is RunFormat.TREC or (kind is None and suffix_of(uri) in RUN_SUFFIXES):
        if renames:
            raise ConfigError(f"{uri}: a TREC run has no column names, got --column for {', '.join(renames)}")
        return Run(uri, _checked(uri, _trec_ranking(location)))
    return read_unchanged(location, lambda: _read_parquet(location, renames))


def _read_parquet(location: Location, renames: Mapping[str, str] | None) -> Run:
    uri, columns = location.uri, pair_columns(location, renames)
    if {"rank", "source_rank"} <= columns.keys():
        return _ranked_output(location, renames)
    if "text" in columns:
        # The job scores the first of two candidates with the same doc_id and rejects the other.
        first_stage = ranked_by(read_pairs(location, (), renames=renames))
        return Run(uri, {query_id: list(dict.fromkeys(doc_ids)) for query_id, doc_ids in first_stage.items()})
    for name, ascending in (("rank", True), ("score", False)):
        if name in columns:
            table = read_pairs(location, [name], renames=renames)
            key = _numbers(uri, table.column(name))
            _check_no_nan(uri, name, key, table)
            return Run(uri, _checked(uri, ranked_by(table, key if ascending else -key)))
    raise InputError(
        f"{uri}: not a run: expected our ranked output (query_id, doc_id, rank, source_rank), candidate sets "
        f"(query_id, query, doc_id, text), or query_id, doc_id and rank or score; found {', '.join(columns)}"
    )


def read_manifest(location: Location) -> dict[str, Any]:
    """Read the manifest of an output folder; empty if there is none. Raises InputError if it is half published."""
    check_finished(location)
    path = location.join(MANIFEST).path
    try:
        with location.filesystem.open_input_stream(path) as stream:
            content = json.loads(stream.read())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def queries_of_limited(uri: str) -> frozenset[str] | None:
    """Return the queries that a run with --limit read, the rejected ones included; None for any other run.

    Raises InputError if `uri` is an output folder that cannot be read.
    """
    location = locate(uri)
    manifest = read_manifest(location)
    limit = manifest.get("limit")
    if limit is None or int(manifest.get("queries_read", 0)) < limit:  # the input had fewer queries than the limit
        return None
    columns = [read_pairs(location, ()).column("query_id"), *_rejected_queries(location.join(ERRORS))]
    return frozenset(query_id for ids in columns for query_id in pc.unique(ids).to_pylist())


def _rejected_queries(errors: Location) -> Iterator[pa.ChunkedArray]:
    if errors.info().type == fs.FileType.Directory:
        rows = pq.read_table(errors.path, filesystem=errors.filesystem, columns=["query_id"])
        yield rows.column("query_id").cast(pa.large_string()).drop_null()


def is_cut(location: Location, manifest: Mapping[str, Any], renames: Mapping[str, str] | None = None) -> bool:
    """Return True if --top-k or --min-score left pairs out of an output folder."""
    return count_pairs(location, renames) < int(manifest.get("pairs_ranked", 0))


def ranked_by(table: pa.Table, *keys: np.ndarray) -> dict[str, list[str]]:
    """Return query_id → doc_ids sorted by the keys, the first key first, then in table order."""
    encoded = combined(table.column("query_id")).dictionary_encode()
    queries = encoded.indices.to_numpy()
    order = np.lexsort((*reversed(keys), queries))
    doc_ids = table.column("doc_id").take(pa.array(order)).to_pylist()
    ends = np.cumsum(np.bincount(queries, minlength=len(encoded.dictionary))).tolist()
    starts = [0, *ends]
    return {
        query_id: doc_ids[start:end]
        for query_id, start, end in zip(encoded.dictionary.to_pylist(), starts, ends, strict=False)
    }


def _numbers(uri: str, column: pa.ChunkedArray) -> Values:
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        raise InputError(f"{uri}: rank and score must be numbers, found {column.type}")
    numbers: Values = column.cast(pa.float64()).to_numpy()
    return numbers


def _check_no_nan(uri: str, name: str, values: Values, table: pa.Table) -> None:
    """Raise InputError if a rank or a score is missing or NaN: such a row has no place in an order."""
    if np.isnan(values).any():
        at = int(np.isnan(values).argmax())
        query_id, doc_id = (table.column(column)[at].as_py() for column in ("query_id", "doc_id"))
        raise InputError(
            f"{uri}: {name} must be a number, found none for query_id {query_id!r}, doc_id {doc_id!r} (null or NaN)"
        )


def _ranked_output(location: Location, renames: Mapping[str, str] | None) -> Run:
    table = read_pairs(location, ["rank", "source_rank"], renames=renames)
    by = {
        name: _checked(location.uri, ranked_by(table, _numbers(location.uri, table.column(name))))
        for name in ("rank", "source_rank")
    }
    cut = is_cut(location, read_manifest(location), renames)
    return Run(location.uri, by["rank"], None if cut else by["source_rank"], cut)


def _trec_ranking(location: Location) -> dict[str, list[str]]:
    parts = list(read_run_lines(location))
    if not parts:
        raise InputError(f"{location.uri}: holds no lines")
    table = pa.concat_tables(parts)
    # trec_eval compares scores as float32 and sorts equal ones by doc_id, the largest first.
    doc_id_rank = pc.rank(table.column("doc_id"), tiebreaker="dense").to_numpy().astype(np.int64)
    return ranked_by(table, -table.column("score").to_numpy().astype(np.float32), -doc_id_rank)


def _checked(uri: str, ranking: dict[str, list[str]]) -> dict[str, list[str]]:
    """Raise InputError if a ranking has a document twice, because no measure is defined for that."""
    for query_id, doc_ids in ranking.items():
        if len(set(doc_ids)) != len(doc_ids):
            seen: set[str] = set()
            twice = next(doc_id for doc_id in doc_ids if doc_id in seen or seen.add(doc_id))  # type: ignore[func-returns-value]
            raise InputError(f"{uri}: query_id {query_id!r} has doc_id {twice!r} twice")
    return ranking


def names_of(query_ids: Sequence[str], *, most: int = 5) -> str:
    """Return the first few ids, and how many more there are."""
    more = len(query_ids) - most
    return ", ".join(query_ids[:most]) + (f" and {more:,} more" if more > 0 else "")
