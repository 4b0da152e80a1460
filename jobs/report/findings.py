"""Collect the content of the report from an output folder, judgements and the input of the run; nothing is scored."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from jobs.evaluate import assess, remarks
from jobs.evaluation.compare import Comparison
from jobs.evaluation.measures import Judge, Qrels, Values
from jobs.evaluation.ranked import RankedPairs, read_ranked
from jobs.evaluation.rankings import Run, is_cut
from jobs.pipeline.staging import ERRORS
from jobs.report.examples import Example, Texts, example, extremes
from jobs.report.moves import Moves, moves_of, overlap
from jobs.tune.command import depth_curve
from jobs.tune.cost import Rates, cost_of, rates_of
from jobs.tune.settings import Tuner
from rerank.paths import locate
from rerank.tables.published import read_unchanged

_EXAMPLES = 10


@dataclass(frozen=True, slots=True)
class Judged:
    """What judgements add. `comparisons` is empty if the output was cut; `relevant` is a mask over `pairs`."""

    measure: str
    summary: dict[str, Any]
    comparisons: tuple[Comparison, ...]
    remarks: tuple[str, ...]
    changes: Values
    relevant: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Findings:
    """The content of the page. `depths` has the cost of each depth, and its quality if there are judgements.

    Without judgements `wins` are the queries whose top 10 changed most. `rejected` has reason, count and an example.
    """

    output: str
    manifest: Mapping[str, Any]
    pairs: RankedPairs
    cut: bool
    moves: Moves
    depths: tuple[dict[str, Any], ...]
    judged: Judged | None
    wins: tuple[Example, ...]
    losses: tuple[Example, ...]
    texts_from: str | None
    rejected: tuple[tuple[str, int, str], ...]


def find(uri: str, judge: Judge | None, *, source: str | None = None, usd_per_hour: float | None = None) -> Findings:
    """Read and count everything. Raises InputError if the folder has no ranking or none of its queries is judged.

    A folder that is replaced meanwhile is read again.
    """
    return read_unchanged(locate(uri), lambda: _find(uri, judge, source, usd_per_hour))


def _find(uri: str, judge: Judge | None, source: str | None, usd_per_hour: float | None) -> Findings:
    pairs, manifest = read_ranked(uri)
    cut = is_cut(locate(uri), manifest)
    rates = rates_of(manifest, pairs_per_second=None, usd_per_hour=usd_per_hour)
    moves = moves_of(pairs)
    judged = None if judge is None else _judged(uri, pairs, judge, cut=cut)
    # The old top documents are unknown if the output was cut.
    wins, losses, texts_from = ((), (), None) if cut else _examples(uri, pairs, judge, manifest, source)
    depths = _depths(pairs, judge, moves, rates, cut=cut)
    rejected = _rejected(uri)
    return Findings(uri, manifest, pairs, cut, moves, depths, judged, wins, losses, texts_from, rejected)


def _judged(uri: str, pairs: RankedPairs, judge: Judge, *, cut: bool) -> Judged:
    after, before = pairs.ranking(pairs.as_ranked()), pairs.ranking(pairs.order(depth=0))
    summary = assess(judge, Run(uri, after, None if cut else before, cut))
    differences = judge.values(after)[:, 0] - judge.values(before)[:, 0]
    comparisons = () if cut else tuple(Comparison(**row) for row in summary["measures"])
    relevant = pairs.relevances(judge.qrels) > 0
    return Judged(judge.measures[0], summary, comparisons, tuple(remarks(summary)), differences, relevant)


def _depths(
    pairs: RankedPairs, judge: Judge | None, moves: Moves, rates: Rates, *, cut: bool
) -> tuple[dict[str, Any], ...]:
    """Return a row per depth: its cost, and its quality against the first stage if it can be measured."""
    if judge is not None and not cut:
        narrow = Judge(judge.qrels, judge.measures[:1])
        return tuple(depth_curve(Tuner(pairs, narrow), judge.measures[0], rates))
    costs = (cost_of(pairs, depth, rates) for depth in moves.depths)
    return tuple(
        {"depth": depth, "pairs": cost.pairs, "tokens": cost.tokens, "seconds": cost.seconds, "usd": cost.usd}
        for depth, cost in zip(moves.depths, costs, strict=True)
    )


def _examples(
    uri: str, pairs: RankedPairs, judge: Judge | None, manifest: Mapping[str, Any], source: str | None
) -> tuple[tuple[Example, ...], tuple[Example, ...], str | None]:
    """Return the ten largest gains and losses; without judgements the ten queries whose top 10 changed most."""
    row_of = {query_id: row for row, query_id in enumerate(pairs.query_ids)}
    qrels: Qrels = {}
    before = np.ones(len(pairs.query_ids))
    after = overlap(pairs)
    if judge is not None:
        qrels = judge.qrels
        before, after = np.zeros(len(row_of)), np.zeros(len(row_of))
        for values, order in ((before, pairs.order(depth=0)), (after, pairs.as_ranked())):
            measured = judge.values(pairs.ranking(order))[:, 0]
            for query_id, value in zip(judge.query_ids, measured.tolist(), strict=True):
                if query_id in row_of:
                    values[row_of[query_id]] = value
    gained, lost = extremes(after - before, _EXAMPLES)
    if judge is None:
        gained, lost = lost, []
    places = [place for place in (source, uri, manifest.get("source")) if place]
    texts = Texts(places, manifest.get("columns", {}), [pairs.query_ids[row] for row in (*gained, *lost)])
    wins, losses = (
        tuple(example(pairs, row, texts, qrels, (float(before[row]), float(after[row]))) for row in rows)
        for rows in (gained, lost)
    )
    return wins, losses, texts.source


def _rejected(uri: str) -> tuple[tuple[str, int, str], ...]:
    """Return reason, count and an example query_id of the rejected rows, the most frequent reason first."""
    location = locate(uri).join(ERRORS)
    try:
        table = pq.read_table(location.path, filesystem=location.filesystem, columns=["query_id", "reason"])
    except OSError:
        return ()  # nothing was rejected
    table = table.set_column(0, "query_id", table.column("query_id").cast(pa.large_string()))
    counts = table.group_by("reason").aggregate([("reason", "count"), ("query_id", "min")])
    rows = zip(*(counts.column(name).to_pylist() for name in ("reason", "reason_count", "query_id_min")), strict=True)
    return tuple(sorted(((reason, count, str(query)) for reason, count, query in rows), key=lambda row: -row[1]))
