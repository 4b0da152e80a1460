"""Cascades as jobs: the rows of two runs by hand, and what is scored again after a kill."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import Result

from jobs.formats.columns import Layout
from jobs.pipeline.counts import CountsActor, count, count_stage
from jobs.pipeline.progress import ProgressState
from jobs.pipeline.writer import ranked_slices
from rerank import Reranker, ScorerConfig
from rerank.cascade.handover import Handover
from rerank.prepare import prepare
from tests.fakes import candidate_sets
from tests.jobs.pipeline.test_faults import PAIRS, QUERIES, ROWS
from tests.jobs.processes import Job, ordered, summary_of, titles_below, wait_until_gone
from tests.text_models import make_vectors

KEEP = 3
REFUSED = [
    ("q-null", "null", [("a", "text"), ("b", None)]),
    ("q-none", "none", []),
    ("q-blank", " ", [("a", "x")]),
]
SETS = candidate_sets([*ROWS[:6], *REFUSED])


# Of a few tokens: FaultyEngine fails on documents of 40 to 42.
SHORT = [
    (query_id, query, [(doc_id, f"{query_id} {doc_id}") for doc_id, _ in documents])
    for query_id, query, documents in ROWS
]


@pytest.fixture(scope="module")
def vectors(folder_of: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny model of one vector per text."""
    folder = tmp_path_factory.mktemp("vectors")
    make_vectors(folder_of("bert"), folder)
    return str(folder)


@pytest.mark.ray
def test_the_rows_are_those_of_two_runs(vectors: str, tmp_path: Path, rerank_here: Callable[..., Result]) -> None:
    """The second run is that of a person who takes the best rows of the first."""
    pq.write_table(SETS, tmp_path / "in.parquet", row_group_size=2)
    flags = ("--dtype", "float32", "--max-error-rate", "1", "--scores", tmp_path / "scores", "--block-pairs", "16")
    stages = ("--stage", f"{vectors}:{KEEP}", "--stage", "docs-mini", "--stage-logits")
    summary = summary_of(rerank_here(tmp_path / "in.parquet", tmp_path / "out", *flags, *stages))
    first = summary_of(
        rerank_here(tmp_path / "in.parquet", tmp_path / "first", *flags, "--model", vectors, "--keep-text")
    )
    assert (first["pairs_scored"], first["store_hits"]) == (0, summary["stages"][0]["pairs_scored"])
    whole = pq.read_table(tmp_path / "first").sort_by([("query_id", "ascending"), ("rank", "ascending")])
    best = whole.filter(pa.compute.less_equal(whole["rank"], KEEP))
    pq.write_table(best.select(["query_id", "query", "doc_id", "text"]), tmp_path / "best.parquet")
    second = summary_of(rerank_here(tmp_path / "best.parquet", tmp_path / "second", *flags))
    assert (second["pairs_scored"], second["store_hits"]) == (0, summary["stages"][1]["pairs_scored"])

    places = {(row["query_id"], row["doc_id"]): row["source_rank"] for row in whole.to_pylist()}
    before = {(row["query_id"], row["doc_id"]): row["logit"] for row in whole.to_pylist()}
    expected = []
    for row in ordered(pq.read_table(tmp_path / "second")).to_pylist():
        key = (row["query_id"], row["doc_id"])
        expected.append({**row, "source_rank": places[key], "stage": 2, "stage_logits": [before[key], row["logit"]]})
    for row in whole.to_pylist():
        if row["rank"] > KEEP:
            row = {name: value for name, value in row.items() if name not in {"query", "text"}}
            expected.append({**row, "stage": 1, "stage_logits": [row["logit"]]})
    expected.sort(key=lambda row: (row["query_id"], row["rank"]))
    assert ordered(pq.read_table(tmp_path / "out")).to_pylist() == expected

    assert summary["pairs_ranked"] == len(expected) and summary["pairs_rejected"] == 2
    assert pq.read_table(tmp_path / "out" / "_errors").num_rows == 3
    assert json.loads((tmp_path / "out" / "_manifest.json").read_text())["stages"] == summary["stages"]
    assert [stage["keep"] for stage in summary["stages"]] == [KEEP, None]
    assert summary["tokens"] == sum(stage["tokens"] for stage in summary["stages"])


@pytest.mark.ray
@pytest.mark.usefixtures("shared_driver")
def test_killed_it_goes_on_in_each_stage(folder_of: Callable[[str], Path], tmp_path: Path) -> None:
    stages = [{"model": str(folder_of("bert")), "keep": 10}, {"model": "docs-mini"}]
    with Job(tmp_path, SHORT, seconds_per_pair=0.005, stages=stages) as job:
        job.wait_until(lambda: len(job.stored_by_model()) == 2 and min(job.stored_by_model().values()) > 100)
        children = titles_below(job.process.pid)
        job.process.kill()
        wait_until_gone(children)
    stored = job.stored_by_model()
    assert job.scored() - sum(stored.values()) <= 2 * 64  # a block of each stage was in flight

    job = Job(tmp_path, SHORT, stages=stages)
    summary = job.run_here()
    assert sum(stored.values()) < PAIRS + QUERIES * 10
    for stage, pairs in zip(summary["stages"], (PAIRS, QUERIES * 10), strict=True):
        assert stage["store_hits"] == stored[stage["fingerprint"]]
        assert stage["pairs_scored"] == pairs - stage["store_hits"]
    assert job.scored() == sum(stage["pairs_scored"] for stage in summary["stages"])
    rows = job.ranked().to_pylist()
    assert len(rows) == PAIRS
    assert [row["stage"] for row in rows] == ([2] * 10 + [1] * 10) * QUERIES


def test_of_the_pairs_that_go_on_none_is_done() -> None:
    """So that the pairs that are done add up to those of the input, whatever a stage rejects."""
    actor, reranker, table = CountsActor(), Reranker(ScorerConfig(dtype="float32")), SETS
    first, last = Handover(1, KEEP), Handover(2, None)
    ranked = reranker.rank_table(prepare(table, reranker.encoder, keep_text=True))
    actor.add_block("a", "1", count_stage(ranked, first))
    total = 6 * 20 + 2 + 1 + 1
    on_the_way = 6 * KEEP + 1
    assert actor.counts().done == total - on_the_way
    ranked = reranker.rank_table(prepare(first(ranked), reranker.encoder))
    actor.add_block("b", "2", count_stage(ranked, last))
    reported = actor.counts()
    assert (reported.done, reported.rejected) == (total, 2)
    assert reported.stage_pairs == [6 * 20 + 1, on_the_way]
    state = ProgressState(total)
    state.update(reported, 1.0)
    assert str(state).startswith("124 of 124 pairs, 2 rejected, 121 in stage 1, 19 in stage 2")


def test_a_part_counts_what_each_stage_did() -> None:
    reranker = Reranker(ScorerConfig(dtype="float32"))
    handed = Handover(1, KEEP)(reranker.rank_table(prepare(SETS, reranker.encoder, keep_text=True)))
    whole = Handover(2, None)(reranker.rank_table(prepare(handed, reranker.encoder)))
    counts: dict[str, Any] = count(whole)
    assert (counts["pairs_ranked"], counts["pairs_rejected"], counts["queries_without_candidates"]) == (121, 2, 1)
    assert (counts["stage_1_pairs_scored"], counts["stage_2_pairs_scored"], counts["pairs_scored"]) == (121, 19, 140)
    assert counts["stage_1_tokens"] + counts["stage_2_tokens"] == counts["tokens"]
    assert counts["queries_ranked"] == 7 and counts["queries_rejected"] == 2
    (rows,) = ranked_slices(whole, Layout.PAIRS, 1 << 20)
    assert rows.column_names == ["query_id", "doc_id", "rank", "score", "logit", "source_rank", "stage"]
    assert np.all(np.diff(rows.filter(pa.compute.equal(rows["query_id"], "q00"))["stage"].to_numpy()) <= 0)
