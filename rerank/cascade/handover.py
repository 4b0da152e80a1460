"""What becomes of a block between two stages of a cascade, and after the last one.

Only what a stage keeps goes on with its text. The other candidates have their final place already: they travel beside
it, without text, in columns of the query.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from rerank.arrays import IntArray, offsets_of
from rerank.ranking.candidates import (
    CANDIDATES,
    CandidateSets,
    combined,
    keep_columns,
    list_column,
    list_rows,
    struct_rows,
)
from rerank.ranking.output_columns import REJECTED, USAGE
from rerank.ranking.vectors import VECTORS

STAGE = "stage"
STAGE_LOGITS = "stage_logits"
STAGE_USAGE = "_stage_usage"  # list of `usage` structs, one per stage

_SETTLED = "_settled"  # candidates that went no further, in their final order
_PLACES = "_places"  # source rank of each candidate that goes on
_REJECTED = "_rejected_before"
_LOGITS = "_logits_before"  # of each candidate that goes on: its logits in the stages before
_OF_QUERIES = (_SETTLED, _PLACES, _REJECTED, STAGE_USAGE)
_OF_ONE_STAGE = ("rank", "score", "logit", "source_rank")

Rows = tuple[pa.Table, IntArray]
"""Rows of an inner table, and the number of the query that each belongs to."""


@dataclass(frozen=True, slots=True)
class Handover:
    """Takes a block that a stage ranked, and returns what the next stage ranks; after the last stage the whole ranking.

    The last stage is the one with `keep` None.

    - `stage`: its number, from 1
    - `keep`: how many of the candidates that it scored go on
    - `keep_text`: whether the texts of candidates are part of the result
    - `stage_logits`: whether the logits of all stages are
    - `top_k`, `min_score`: which candidates the result has, see `RankingOptions`; only the last stage reads them.
      `min_score` is a relevance score of the last stage, so it drops the candidates that only earlier stages saw
    """

    stage: int
    keep: int | None
    keep_text: bool = False
    stage_logits: bool = False
    top_k: int | None = None
    min_score: float | None = None

    def __call__(self, ranked: pa.Table) -> pa.Table:
        """Return the block for the next stage, or the whole ranking.

        `ranked` is what `Reranker.rank_table` returns for a block that has its texts. The candidates of the whole
        ranking are sorted by the last stage that saw them, the highest first, then by its logit. They have the further
        fields `stage` (int32, from 1; null for a candidate that no stage scored) and, if asked for, `stage_logits`
        (list<float>). Their `rank` counts all of them, `source_rank` is that of the first stage. `usage` is the sum
        over the stages, and `_stage_usage` has that of each.
        """
        sets = CandidateSets.from_table(ranked)
        if self.stage == 1:  # columns of the input that have these names are none of ours
            sets = CandidateSets(
                keep_columns(sets.queries, without=_OF_QUERIES),
                keep_columns(sets.candidates, without=[_LOGITS]),
                sets.offsets,
            )
        candidates = self._with_stage(sets)
        kept = self.kept(sets)
        left_behind = (_LOGITS,) if self.keep_text else (_LOGITS, "text", VECTORS)
        settled = sets.with_candidates(keep_columns(candidates, without=left_behind)).take(np.flatnonzero(~kept))
        queries = keep_columns(sets.queries, without=(REJECTED, USAGE, *_OF_QUERIES))
        columns = {
            _SETTLED: _joined([_rows(settled), _rows_before(sets.queries, _SETTLED)], len(sets)),
            _REJECTED: _joined([_rows_before(sets.queries, _REJECTED), self._rejected(sets)], len(sets)),
            STAGE_USAGE: _joined([_rows_before(sets.queries, STAGE_USAGE), _usage_rows(sets.queries)], len(sets)),
        }
        if self.keep is None:
            return self._whole(queries, columns)
        going_on = sets.with_candidates(candidates).take(np.flatnonzero(kept))
        columns[_PLACES] = list_column(going_on.candidates.select(["source_rank"]), going_on.offsets)
        for name, values in columns.items():
            queries = queries.append_column(name, values)
        texts = keep_columns(going_on.candidates, without=(*_OF_ONE_STAGE, STAGE, STAGE_LOGITS))
        if self.stage_logits:
            texts = texts.append_column(_LOGITS, going_on.candidates.column(STAGE_LOGITS))
        return CandidateSets(queries, texts, going_on.offsets).to_table()

    def kept(self, sets: CandidateSets) -> npt.NDArray[np.bool_]:
        """Return which candidates of a ranked block go on, shape [pairs]: the best of those that have a logit."""
        is_scored = np.asarray(sets.candidates.column("logit").is_valid())
        mask: npt.NDArray[np.bool_] = is_scored & (sets.candidates.column("rank").to_numpy() <= (self.keep or 0))
        return mask

    def _with_stage(self, sets: CandidateSets) -> pa.Table:
        """Return the ranked candidates with `stage` and `stage_logits`, and with the first stage's `source_rank`."""
        candidates = sets.candidates
        logits = candidates.column("logit")
        is_unscored = np.asarray(logits.is_null())
        columns = {name: candidates.column(name) for name in ("doc_id", *_OF_ONE_STAGE)}
        columns["source_rank"] = pa.array(_first_ranks(sets, sets.query_of, columns["source_rank"].to_numpy()))
        columns[STAGE] = pa.array(np.full(sets.pair_count, self.stage, dtype=np.int32), mask=is_unscored)
        if self.stage_logits:
            columns[STAGE_LOGITS] = self._all_logits(candidates, logits.to_numpy(), is_unscored)
        others = keep_columns(candidates, without=(*columns, STAGE_LOGITS))
        return pa.table(columns | dict(zip(others.column_names, others.columns, strict=True)))

    def _all_logits(self, candidates: pa.Table, logits: np.ndarray, is_unscored: np.ndarray) -> pa.Array:
        """Return the logits of each candidate in all stages until now; null for one that no stage scored."""
        logits = logits.astype(np.float32)[:, None]
        if _LOGITS in candidates.column_names:
            before = combined(candidates.column(_LOGITS)).flatten().to_numpy()
            logits = np.hstack([before.reshape(-1, self.stage - 1), logits])
        offsets = np.arange(len(logits) + 1, dtype=np.int32) * self.stage
        mask = pa.array(is_unscored) if is_unscored.any() else None
        return pa.ListArray.from_arrays(pa.array(offsets), pa.array(logits.ravel()), mask=mask)

    def _rejected(self, sets: CandidateSets) -> Rows:
        """Return what this stage rejected, with the first stage's source ranks.

        A query without candidates was counted by the first stage, or all of its candidates were.
        """
        rows, query_of = _list_rows(sets.queries, REJECTED)
        if self.stage == 1:
            return rows, query_of
        is_candidate = np.asarray(rows.column("source_rank").is_valid())
        rows, query_of = rows.filter(pa.array(is_candidate)), query_of[is_candidate]
        ranks = _first_ranks(sets, query_of, rows.column("source_rank").to_numpy())
        return rows.set_column(rows.column_names.index("source_rank"), "source_rank", pa.array(ranks)), query_of

    def _whole(self, queries: pa.Table, columns: dict[str, pa.Array]) -> pa.Table:
        """Return the ranking of all stages together."""
        ranking = CandidateSets.from_table(queries.append_column(CANDIDATES, columns[_SETTLED]))
        usage = _total_usage(columns[STAGE_USAGE], np.diff(ranking.offsets))
        ranks = ranking.source_rank  # places in the list
        candidates = ranking.candidates.set_column(
            ranking.candidates.column_names.index("rank"), "rank", pa.array(ranks)
        )
        is_returned = np.ones(len(ranks), dtype=np.bool_) if self.top_k is None else ranks <= self.top_k
        if self.min_score is not None:
            is_last = pc.fill_null(pc.equal(candidates.column(STAGE), self.stage), False)
            is_good = pc.fill_null(pc.greater_equal(candidates.column("score"), np.float32(self.min_score)), False)
            is_returned &= np.asarray(pc.and_(is_last, is_good))
        whole = ranking.with_candidates(candidates).take(np.flatnonzero(is_returned)).to_table()
        for name, values in ((REJECTED, columns[_REJECTED]), (USAGE, usage), (STAGE_USAGE, columns[STAGE_USAGE])):
            whole = whole.append_column(name, values)
        return whole


def _first_ranks(sets: CandidateSets, query_of: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Return the first stage's rank of candidates that this stage counts from 1 by their places in its input."""
    if _PLACES not in sets.queries.column_names:
        return places
    lists = combined(sets.queries.column(_PLACES))
    starts = offsets_of(lists.value_lengths().to_numpy())
    ranks: np.ndarray = lists.flatten().field("source_rank").to_numpy()[starts[query_of] + places - 1]
    return ranks


def _rows(sets: CandidateSets) -> Rows:
    return sets.candidates, sets.query_of


def _list_rows(queries: pa.Table, name: str) -> Rows:
    """Return the entries of a column of lists of structs as a table, and the query of each."""
    return _rows(CandidateSets(queries, *list_rows(queries.column(name))))


def _rows_before(queries: pa.Table, name: str) -> Rows | None:
    """Return what earlier stages left in such a column; None in the first stage."""
    return _list_rows(queries, name) if name in queries.column_names else None


def _usage_rows(queries: pa.Table) -> Rows:
    return struct_rows(combined(queries.column(USAGE))), np.arange(queries.num_rows, dtype=np.int32)


def _joined(parts: Sequence[Rows | None], queries: int) -> pa.Array:
    """Return lists of structs: for each query its rows of the first part, then those of the next."""
    present = [part for part in parts if part is not None]
    rows = pa.concat_tables([rows for rows, _ in present], promote_options="permissive").combine_chunks()
    query_of = np.concatenate([query_of for _, query_of in present])
    order = np.argsort(query_of, kind="stable")
    return list_column(rows.take(pa.array(order)), offsets_of(np.bincount(query_of, minlength=queries)))


def _total_usage(stages: pa.Array, ranked: np.ndarray) -> pa.Array:
    """Return the usage of all stages together; each pair that any stage ranked counts once in `pairs_ranked`."""
    lists = stages.value_lengths().to_numpy()
    query_of = np.repeat(np.arange(len(lists)), lists)
    structs = stages.flatten()
    sums = {}
    for field in structs.type:
        values = structs.field(field.name).to_numpy()
        totals = np.zeros(len(lists), dtype=values.dtype)
        np.add.at(totals, query_of, values)
        sums[field.name] = totals
    sums["pairs_ranked"] = ranked.astype(sums["pairs_ranked"].dtype)
    return pa.StructArray.from_arrays([pa.array(values) for values in sums.values()], names=list(sums))
