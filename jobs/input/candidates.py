"""What a run reads: candidate sets as they lie, or rows that have to be gathered first; checked and counted."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from jobs.formats.columns import Layout
from jobs.input.join import RunJoin, open_run, open_unclustered
from jobs.input.limit import first_queries
from jobs.input.scan import check_clustered, scan
from jobs.input.source import Source, open_source
from jobs.input.splits import Rows
from rerank.errors import ConfigError
from rerank.ranking.candidates import CANDIDATES
from rerank.ranking.fusion import FusionMethod, ScoreFusion
from rerank.ranking.rank import SOURCE_SCORE

_NO_ROWS: Rows = np.empty(0, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Input:
    """Candidate sets, how many they are, and which rows bear a query_id for the second time (see `jobs.input.scan`)."""

    source: Source | RunJoin
    queries: int
    pairs: int
    repeated: Rows


def open_input(
    uri: str,
    *,
    layout: Layout | None = None,
    renames: dict[str, str] | None = None,
    limit: int | None = None,
    corpus: str | None = None,
    queries: str | None = None,
    regroup: bool = False,
) -> Input:
    """Find, check and count what is behind `uri`, without starting anything.

    `corpus` and `queries` make it a run with its texts, `regroup` takes pairs in any order, `limit` only the first
    queries. Raises InputError, and ConfigError where these contradict each other.
    """
    renames = renames or {}
    if (corpus is None) is not (queries is None):
        raise ConfigError("--corpus and --queries go together: the texts of a run's documents, and of its queries")
    if corpus is not None and queries is not None:
        if layout is not None or regroup:
            raise ConfigError("--corpus and --queries are for a run (query_id, doc_id, score): leave the layout out")
        gathering = open_run(uri, corpus=corpus, queries=queries, renames=renames, limit=limit)
        return Input(gathering, len(gathering.query_ids), gathering.pairs, _NO_ROWS)
    if regroup:
        if layout is Layout.QUERIES:
            raise ConfigError("--regroup is for the pairs layout: in the queries layout a query is one row")
        gathering = open_unclustered(uri, renames=renames, limit=limit)
        return Input(gathering, len(gathering.query_ids), gathering.pairs, _NO_ROWS)
    source = open_source(uri, layout=layout, renames=renames)
    return counted(source if limit is None else first_queries(source, limit))


def check_mixable(source: Source | RunJoin, fusion: ScoreFusion) -> None:
    """Refuse to mix scores where the first stage brought none. Raises ConfigError."""
    schema = source.rows.schema if isinstance(source, RunJoin) else source.schema
    lists = schema.field(CANDIDATES).type.value_type if CANDIDATES in schema.names else schema
    kinds = {field.name: field.type for field in lists}
    kind = kinds.get("score", kinds.get(SOURCE_SCORE))
    if fusion.method is FusionMethod.SCORES and not (
        kind and (pa.types.is_floating(kind) or pa.types.is_integer(kind))
    ):
        found = f"a column 'score' of {kind}" if kind else f"only {', '.join(kinds)}"
        raise ConfigError(
            f"--mix {fusion} needs the first stage's scores, a column 'score' of numbers; the candidates have {found}. "
            "--mix rrf:WEIGHT needs their order alone"
        )


def counted(source: Source) -> Input:
    """Candidate sets that can be read as they lie. Raises InputError where the rows of a query do not lie together."""
    found = scan(source)
    check_clustered(source, found)
    return Input(source, found.queries, source.pairs, found.repeated)
