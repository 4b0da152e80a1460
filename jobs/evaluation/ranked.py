"""Read a ranked output folder as arrays: each pair with its logit and its first-stage rank."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from jobs.evaluation.measures import Qrels, Values
from jobs.evaluation.rankings import read_manifest
from jobs.formats.pair_rows import fitting, pair_columns, read_pairs
from rerank.arrays import FloatArray, IntArray, Offsets, offsets_of
from rerank.cascade.handover import STAGE, STAGE_LOGITS
from rerank.errors import InputError
from rerank.paths import Location, locate
from rerank.ranking.candidates import combined
from rerank.ranking.fusion import ScoreFusion, fuse
from rerank.ranking.rank import SOURCE_SCORE
from rerank.ranking.relevance import relevance_scores
from rerank.tables.published import read_unchanged


@dataclass(frozen=True)
class RankedPairs:
    """Query i owns rows offsets[i] to offsets[i + 1], in first-stage order. All arrays have shape [pairs].

    `ranks` are those of the run, from 1. A logit and its relevance score are NaN for a candidate below --depth.
    `source_scores` are the first stage's: NaN for a pair without one, None if no pair has one. For a cascade the logit
    and the relevance score are those of the last stage that saw the pair, whose number is in `stages`; `stage_logits`
    [pairs, stages] has all of them, NaN where a stage did not see the pair, if the run wrote them.
    """

    query_ids: list[str]
    offsets: Offsets
    doc_ids: pa.Array
    logits: FloatArray
    scores: FloatArray
    ranks: IntArray
    source_rank: IntArray
    source_scores: Values | None
    stages: IntArray | None = None
    stage_logits: FloatArray | None = None

    @cached_property
    def query_of(self) -> npt.NDArray[np.intp]:
        """Row of the query that each pair belongs to."""
        return np.repeat(np.arange(len(self.query_ids)), np.diff(self.offsets))

    @property
    def longest(self) -> int:
        """The largest source rank."""
        return int(self.source_rank.max(initial=0))

    @property
    def deepest(self) -> int:
        """The largest source rank that was scored."""
        return int(self.source_rank[np.isfinite(self.logits)].max(initial=0))

    def as_ranked(self) -> npt.NDArray[np.intp]:
        """Return the pairs in the order of the run."""
        return np.lexsort((self.ranks, self.query_of))

    def order(self, *, depth: int | None = None, fusion: ScoreFusion | None = None) -> npt.NDArray[np.intp]:
        """Return the pairs best first within each query, with only the first `depth` candidates reranked.

        The other candidates follow in first-stage order. Those that a cascade reranked stand in the order of the run.
        """
        head = self.source_rank <= (self.deepest if depth is None else depth)
        logits = self.logits if self.stages is None else -self.ranks.astype(np.float32)
        keys = np.where(head, logits, np.float32(np.nan))
        values = (
            keys
            if fusion is None
            else fuse(keys, self.source_rank, self.offsets, fusion, source_scores=self.source_scores)
        )
        return np.lexsort((self.source_rank, np.where(head, -values, np.inf), self.query_of))

    def ranking(self, order: npt.NDArray[np.intp], *, top: int | None = None) -> dict[str, list[str]]:
        """Return query_id → doc_ids in this order, the first `top` only if given."""
        counts = np.diff(self.offsets)
        if top is not None:
            place = np.arange(len(order)) - np.repeat(self.offsets[:-1], counts)
            order, counts = order[place < top], np.minimum(counts, top)
        doc_ids = self.doc_ids.take(pa.array(order)).to_pylist()
        bounds = pairwise(offsets_of(counts).tolist())
        return {query_id: doc_ids[start:stop] for query_id, (start, stop) in zip(self.query_ids, bounds, strict=True)}

    def relevances(self, qrels: Qrels) -> npt.NDArray[np.int64]:
        """Return the relevance of each pair, 0 without a judgement."""
        doc_ids = self.doc_ids.to_pylist()
        grades: list[int] = []
        for query_id, (start, stop) in zip(self.query_ids, pairwise(self.offsets.tolist()), strict=True):
            judged = qrels.get(query_id, {})
            grades += [judged.get(doc_id, 0) for doc_id in doc_ids[start:stop]]
        return np.array(grades, dtype=np.int64)


def read_ranked(
    uri: str, *, source: str | None = None, only: Sequence[str] | None = None
) -> tuple[RankedPairs, dict[str, Any]]:
    """Read the pairs of an output folder and its manifest; `only` keeps the pairs of these query ids.

    First-stage scores are the column `source_score`. If it is missing, they are the column `score` of the candidate
    sets in `source`, by default those named in the manifest, if they still exist. A folder that is replaced meanwhile
    is read again. Raises InputError.
    """
    location = locate(uri)
    return read_unchanged(location, lambda: _read(location, source, only))


def _read(location: Location, source: str | None, only: Sequence[str] | None) -> tuple[RankedPairs, dict[str, Any]]:
    columns = pair_columns(location)
    for name in ("logit", "rank", "source_rank"):
        if name not in columns:
            raise InputError(
                f"{location.uri}: column {name!r} is missing, found {', '.join(columns)}: "
                "is it an output of rerank run?"
            )
    manifest = read_manifest(location)
    optional = ["score", SOURCE_SCORE, *([STAGE, STAGE_LOGITS] if "stages" in manifest else [])]
    names = ["logit", "rank", "source_rank", *(name for name in optional if name in columns)]
    table = read_pairs(location, names, only=only)
    if SOURCE_SCORE not in columns:
        table = _with_source_scores(table, source, manifest)
    return _arrays(table), manifest


def _with_source_scores(table: pa.Table, source: str | None, manifest: dict[str, Any]) -> pa.Table:
    """Return the table with `score` of the candidate sets as `source_score`, if they have that column."""
    place = source or manifest.get("source")
    if place is None:
        return table
    try:
        location = locate(place)
        renames = fitting(location, manifest.get("columns", {}))
        if "score" not in pair_columns(location, renames):
            return table
        queries = pc.unique(table.column("query_id")).to_pylist()
        source_pairs = read_pairs(location, ["score"], renames=renames, only=queries)
    except InputError:
        if source is not None:
            raise
        return table  # the input of the run no longer exists, so only ranks are known
    ids = ["query_id", "doc_id"]
    first = source_pairs.group_by(ids, use_threads=False).aggregate([("score", "first")])
    return table.join(first, ids, join_type="left outer").rename_columns({"score_first": SOURCE_SCORE})


def _arrays(table: pa.Table) -> RankedPairs:
    encoded = combined(table.column("query_id")).dictionary_encode()
    queries = encoded.indices.to_numpy()
    source_rank = table.column("source_rank").to_numpy().astype(np.int32)
    order = np.lexsort((source_rank, queries))
    scores = None
    if SOURCE_SCORE in table.column_names:
        scores = table.column(SOURCE_SCORE).cast(pa.float64()).to_numpy()[order]
    logits = table.column("logit").to_numpy().astype(np.float32)[order]
    if "score" in table.column_names:
        relevance = table.column("score").to_numpy().astype(np.float32)[order]
    else:
        relevance = relevance_scores(logits)
    return RankedPairs(
        encoded.dictionary.to_pylist(),
        offsets_of(np.bincount(queries, minlength=len(encoded.dictionary))),
        combined(table.column("doc_id")).take(pa.array(order)),
        logits,
        relevance,
        table.column("rank").to_numpy().astype(np.int32)[order],
        source_rank[order],
        scores,
        *_stages(table, order),
    )


def _stages(table: pa.Table, order: npt.NDArray[np.intp]) -> tuple[IntArray | None, FloatArray | None]:
    """Return the stage of each pair, 0 if no stage scored it, and the logits of all stages, if they are there."""
    if STAGE not in table.column_names:
        return None, None
    stages = pc.fill_null(table.column(STAGE), 0).to_numpy().astype(np.int32)
    if STAGE_LOGITS not in table.column_names:
        return stages[order], None
    lists = combined(table.column(STAGE_LOGITS))
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
    logits = np.full((len(lists), int(stages.max(initial=0))), np.nan, dtype=np.float32)
    rows = np.repeat(np.arange(len(lists)), lengths)
    logits[rows, np.arange(len(rows)) - offsets_of(lengths)[rows]] = lists.flatten().to_numpy()
    return stages[order], logits[order]
