"""Open the input of a run, checked and counted: candidate sets, or rows that must be grouped by query first."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from pyarrow import fs

from jobs.formats.columns import Layout
from jobs.formats.renames import by_table
from jobs.formats.text_tables.names import TableRole
from jobs.input.convert import TextConverter
from jobs.input.join import RunJoin, open_run, open_unclustered
from jobs.input.limit import first_queries
from jobs.input.query_ids import check_clustered, read_query_ids
from jobs.input.source import Source, open_source
from jobs.input.splits import Rows
from rerank.engines import Kind
from rerank.errors import ConfigError, InputError
from rerank.paths import Location, join_uri, locate
from rerank.ranking.candidates import CANDIDATES
from rerank.ranking.fusion import FusionMethod, ScoreFusion
from rerank.ranking.rank import SOURCE_SCORE
from rerank.ranking.vectors import refuse_vectors_alone

_RUN_TABLES = (TableRole.RUN, TableRole.CORPUS, TableRole.QUERIES)
_NO_ROWS: Rows = np.empty(0, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Input:
    """The input of a run with its counts.

    `repeated` are rows whose query_id occurred before in their partition. `shared` counts the query_ids that are in a
    further partition, where they are another query.
    """

    source: Source | RunJoin
    queries: int
    pairs: int
    repeated: Rows
    shared: int = 0


def open_input(
    uri: str,
    *,
    layout: Layout | None = None,
    renames: dict[str, str] | None = None,
    limit: int | None = None,
    corpus: str | None = None,
    queries: str | None = None,
    regroup: bool = False,
    texts: TextConverter | None = None,
) -> Input:
    """Find, check and count the input behind `uri`, without starting Ray or loading a model.

    With `corpus` and `queries` the input is a run whose texts are in those tables. With `regroup` its pairs may be in
    any order. `limit` keeps the first queries only. `texts` opens tables in text files; without it all are Parquet.
    Raises InputError, or ConfigError if these options contradict.
    """
    renames = renames or {}
    if (corpus is None) is not (queries is None):
        raise ConfigError("--corpus and --queries must be given together: the documents and the queries of a run")
    if corpus is not None and queries is not None:
        if layout is not None or regroup:
            raise ConfigError("--corpus and --queries (for a run) cannot be combined with --layout or --regroup")
        own = by_table(renames, "run", "corpus", "queries")
        places = [
            _place(texts, place, role, its_renames)
            for place, role, its_renames in zip((uri, corpus, queries), _RUN_TABLES, own, strict=True)
        ]
        join = open_run(places[0], corpus=places[1], queries=places[2], renames=renames, limit=limit)
        return Input(join, len(join.query_ids), join.pairs, _NO_ROWS, join.shared)
    if regroup:
        if layout is Layout.QUERIES:
            raise ConfigError("--regroup is for the pairs layout; in the queries layout a query is one row already")
        join = open_unclustered(_place(texts, uri, TableRole.CANDIDATES, renames), renames=renames, limit=limit)
        return Input(join, len(join.query_ids), join.pairs, _NO_ROWS, join.shared)
    place = _place(texts, uri, TableRole.CANDIDATES, renames, queries=limit)
    source = open_source(place, layout=layout, renames=renames)
    return counted(source if limit is None else first_queries(source, limit))


def _place(
    texts: TextConverter | None, uri: str, role: TableRole, renames: dict[str, str], *, queries: int | None = None
) -> Location:
    return locate(uri) if texts is None else texts.open(uri, role, renames, queries=queries)


def text_tables(corpus: str | None, queries: str | None, beir: str | None) -> tuple[str | None, str | None]:
    """Return the corpus and the queries of a run: those named, else those in a folder of BEIR.

    Raises InputError if they are not in that folder.
    """
    if beir is not None:
        corpus = corpus or _beir_file(beir, "corpus.jsonl")
        queries = queries or _beir_file(beir, "queries.jsonl")
    return corpus, queries


def _beir_file(folder: str, name: str) -> str:
    uris = [join_uri(folder, f"{name}{packed}") for packed in ("", ".gz", ".zst")]
    for uri in uris:
        if locate(uri).info().type == fs.FileType.File:
            return uri
    raise InputError(f"{folder}: is no folder of BEIR: there is no {name} in it, nor {name}.gz or {name}.zst")


def columns_of(source: Source | RunJoin) -> tuple[dict[str, pa.DataType], dict[str, pa.DataType]]:
    """Return the columns of a query and those of a candidate, as the run reads them: name → type."""
    if isinstance(source, RunJoin):
        rows = _types(source.rows.schema) | _types(source.corpus.schema if source.corpus else [])
        own = ("query_id", "query", *source.owner.key_names)
        of_queries = {name: kind for name, kind in rows.items() if name in own}
        of_queries |= _types(source.queries.schema if source.queries else [])
        return of_queries, {name: kind for name, kind in rows.items() if name not in own}
    columns = _types(source.schema)
    if source.layout is Layout.QUERIES:
        lists = columns.pop(CANDIDATES)
        return columns, _types(lists.value_type)
    own = ("query_id", "query", *source.key_names)
    of_queries = {name: kind for name, kind in columns.items() if name in own}
    return of_queries, {name: kind for name, kind in columns.items() if name not in own}


def key_names_of(source: Source | RunJoin) -> tuple[str, ...]:
    """Return the keys of partitions that are columns of a query, beside its id."""
    names = source.owner.key_names if isinstance(source, RunJoin) else source.key_names
    return tuple(name for name in names if name not in {"query_id", "query"})


def _types(fields: Iterable[pa.Field]) -> dict[str, pa.DataType]:
    return {field.name: field.type for field in fields}


def check_mixable(source: Source | RunJoin, fusion: ScoreFusion) -> None:
    """Raise ConfigError if scores are to be mixed but the input has no first-stage scores."""
    kinds = columns_of(source)[1]
    kind = kinds.get("score", kinds.get(SOURCE_SCORE))
    if fusion.method is FusionMethod.SCORES and not (
        kind and (pa.types.is_floating(kind) or pa.types.is_integer(kind))
    ):
        found = f"a column 'score' of {kind}" if kind else f"only {', '.join(kinds)}"
        raise ConfigError(
            f"--mix {fusion} needs the first stage's scores, a column 'score' of numbers; the candidates have {found}. "
            "--mix rrf:WEIGHT needs no scores, only the order of the candidates"
        )


def check_readable(source: Source | RunJoin, kind: Kind) -> None:
    """Raise InputError if candidates have vectors without texts and models of this kind read texts."""
    if not kind.encodes_texts_alone:
        table = (source.corpus or source.rows) if isinstance(source, RunJoin) else source
        refuse_vectors_alone(_candidate_columns(table))


def _candidate_columns(source: Source) -> dict[str, pa.DataType]:
    """Return the columns of the candidates, in either layout."""
    schema = source.schema
    fields = schema.field(CANDIDATES).type.value_type if CANDIDATES in schema.names else schema
    return {field.name: field.type for field in fields}


def counted(source: Source) -> Input:
    """Count the candidate sets of a source. Raises InputError if the rows of a query are not next to each other."""
    ids = read_query_ids(source)
    check_clustered(source, ids)
    return Input(source, ids.queries, source.pairs, ids.repeated, ids.shared)
