"""A ranked output folder as arrays: every pair with its logit and its place in the first stage."""

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
from rerank.errors import InputError
from rerank.paths import locate
from rerank.ranking.candidates import combined
from rerank.ranking.fusion import ScoreFusion, fuse
from rerank.ranking.rank import SOURCE_SCORE, relevance_scores


@dataclass(frozen=True)
class RankedPairs:
    """Query i owns rows offsets[i] to offsets[i + 1], in first-stage order. All arrays have shape [pairs].

    `ranks` are the run's, from 1; a logit is NaN where the run scored no deeper. `source_scores` are the first
    stage's, NaN where unknown, None where nothing is known of them.
    """

    query_ids: list[str]
    offsets: Offsets
    doc_ids: pa.Array
    logits: FloatArray
    ranks: IntArray
    source_rank: IntArray
    source_scores: Values | None

    @cached_property
    def query_of(self) -> npt.NDArray[np.intp]:
        """Row of the query that each pair belongs to."""
        return np.repeat(np.arange(len(self.query_ids)), np.diff(self.offsets))

    @cached_property
    def scores(self) -> FloatArray:
        """Relevance score of each pair, 0 to 1."""
        return relevance_scores(self.logits)

    @property
    def longest(self) -> int:
        """The largest source rank."""
        return int(self.source_rank.max(initial=0))

    @property
    def deepest(self) -> int:
        """The largest source rank that was scored."""
        return int(self.source_rank[np.isfinite(self.logits)].max(initial=0))

    def as_ranked(self) -> npt.NDArray[np.intp]:
        """Pairs as the run ranked them."""
        return np.lexsort((self.ranks, self.query_of))

    def order(self, *, depth: int | None = None, fusion: ScoreFusion | None = None) -> npt.NDArray[np.intp]:
        """Pairs best first within each query, where the first `depth` candidates are reranked and the rest follow.

        Below the depth the first stage's order stands: a page of results has no holes.
        """
        head = self.source_rank <= (self.deepest if depth is None else depth)
        keys = np.where(head, self.logits, np.float32(np.nan))
        values = (
            keys
            if fusion is None
            else fuse(keys, self.source_rank, self.offsets, fusion, source_scores=self.source_scores)
        )
        return np.lexsort((self.source_rank, np.where(head, -values, np.inf), self.query_of))

    def ranking(self, order: npt.NDArray[np.intp], *, top: int | None = None) -> dict[str, list[str]]:
        """query_id → doc_ids in this order, the first `top` of them."""
        counts = np.diff(self.offsets)
        if top is not None:
            place = np.arange(len(order)) - np.repeat(self.offsets[:-1], counts)
            order, counts = order[place < top], np.minimum(counts, top)
        doc_ids = self.doc_ids.take(pa.array(order)).to_pylist()
        bounds = pairwise(offsets_of(counts).tolist())
        return {query_id: doc_ids[start:stop] for query_id, (start, stop) in zip(self.query_ids, bounds, strict=True)}

    def relevances(self, qrels: Qrels) -> npt.NDArray[np.int64]:
        """The judgement of each pair, 0 where there is none."""
        doc_ids = self.doc_ids.to_pylist()
        found: list[int] = []
        for query_id, (start, stop) in zip(self.query_ids, pairwise(self.offsets.tolist()), strict=True):
            judged = qrels.get(query_id, {})
            found += [judged.get(doc_id, 0) for doc_id in doc_ids[start:stop]]
        return np.array(found, dtype=np.int64)


def read_ranked(
    uri: str, *, source: str | None = None, only: Sequence[str] | None = None
) -> tuple[RankedPairs, dict[str, Any]]:
    """The pairs of an output folder and its manifest; of the queries in `only`, where given.

    First-stage scores are its column `source_score`, else the column `score` of the candidate sets in `source`, which
    are those that the manifest names if they are still there. Raises InputError.
    """
    location = locate(uri)
    columns = pair_columns(location)
    for name in ("logit", "rank", "source_rank"):
        if name not in columns:
            raise InputError(
                f"{uri}: column {name!r} is missing, found {', '.join(columns)}: is it an output of rerank run?"
            )
    manifest = read_manifest(location)
    names = ["logit", "rank", "source_rank", *([SOURCE_SCORE] if SOURCE_SCORE in columns else [])]
    table = read_pairs(location, names, only=only)
    if SOURCE_SCORE not in columns:
        table = _with_source_scores(table, source, manifest)
    return _arrays(table), manifest


def _with_source_scores(table: pa.Table, source: str | None, manifest: dict[str, Any]) -> pa.Table:
    """The table with the candidate sets' `score` as `source_score`, if they have one."""
    named = source or manifest.get("source")
    if named is None:
        return table
    try:
        location = locate(named)
        renames = fitting(location, manifest.get("columns", {}))
        if "score" not in pair_columns(location, renames):
            return table
        queries = pc.unique(table.column("query_id")).to_pylist()
        theirs = read_pairs(location, ["score"], renames=renames, only=queries)
    except InputError:
        if source is not None:
            raise
        return table  # the input of the run has gone: then only ranks are known
    ids = ["query_id", "doc_id"]
    first = theirs.group_by(ids, use_threads=False).aggregate([("score", "first")])
    return table.join(first, ids, join_type="left outer").rename_columns({"score_first": SOURCE_SCORE})


def _arrays(table: pa.Table) -> RankedPairs:
    encoded = combined(table.column("query_id")).dictionary_encode()
    queries = encoded.indices.to_numpy()
    source_rank = table.column("source_rank").to_numpy().astype(np.int32)
    order = np.lexsort((source_rank, queries))
    scores = None
    if SOURCE_SCORE in table.column_names:
        scores = table.column(SOURCE_SCORE).cast(pa.float64()).to_numpy()[order]
    return RankedPairs(
        encoded.dictionary.to_pylist(),
        offsets_of(np.bincount(queries, minlength=len(encoded.dictionary))),
        combined(table.column("doc_id")).take(pa.array(order)),
        table.column("logit").to_numpy().astype(np.float32)[order],
        table.column("rank").to_numpy().astype(np.int32)[order],
        source_rank[order],
        scores,
    )
