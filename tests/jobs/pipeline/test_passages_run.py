"""`rerank run` with passages: what the library ranks, a store that knows passages, and settings that cannot be used."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import Result

from rerank import Reranker, ScorerConfig
from tests.fakes import candidate_sets
from tests.jobs.processes import summary_of
from tests.jobs.tables import WORDS
from tests.models import CORPUS

pytestmark = pytest.mark.ray

LONG = "\n\n".join(f"{WORDS[n % 7]} number {n}: {CORPUS[n % 10]}" for n in range(40))
SETS = [
    ("q1", "returning a parcel", [("long", LONG), ("short", CORPUS[1]), ("blank", " ")]),
    ("q2", "resetting a password", [("long", LONG), ("short", CORPUS[9])]),
]
FLAGS = ("--passage-tokens", "128", "--passage-overlap", "16", "--dtype", "float32", "--max-error-rate", "1")


def test_a_run_ranks_by_passages_and_scores_again_only_those_that_changed(
    tmp_path: Path, rerank_here: Callable[..., Result]
) -> None:
    pq.write_table(candidate_sets(SETS), tmp_path / "in.parquet")
    summary = summary_of(rerank_here(tmp_path / "in.parquet", tmp_path / "out", "--keep-text", *FLAGS))
    reranker = Reranker(ScorerConfig(dtype="float32", passages={"tokens": 128, "overlap": 16}))
    rows = pq.read_table(tmp_path / "out").to_pylist()
    for query_id, query, candidates in SETS:
        ranked = reranker.rank(query, [text for _, text in candidates[:2]])
        own = [row for row in rows if row["query_id"] == query_id]
        assert [row["doc_id"] for row in own] == [candidates[found.index][0] for found in ranked]
        assert [row["passages"] for row in own] == [found.passages for found in ranked]
        np.testing.assert_allclose([row["logit"] for row in own], [found.logit for found in ranked], atol=1e-4)
        for row, found in zip(own, ranked, strict=True):
            span = row["best_passage"]
            assert (span["start"], span["end"]) == found.best_passage[:2]
            assert span["text"] == row["text"][span["start"] : span["end"]]
    passages = sum(row["passages"] for row in rows)
    assert (summary["pairs_ranked"], summary["pairs_rejected"], summary["pairs_truncated"]) == (4, 1, 0)
    assert summary["pairs_scored"] == summary["passages"]["count"] == passages > 10
    settings = {"tokens": 128, "overlap": 16, "aggregate": "max", "max_passages": None, "documents_cut": 0}
    assert summary["passages"] == {**settings, "count": passages}

    changed = [
        (query_id, query, [(name, text.replace("number 20:", "20 (new):")) for name, text in candidates])
        for query_id, query, candidates in SETS
    ]
    pq.write_table(candidate_sets(changed), tmp_path / "tomorrow.parquet")
    scores = ("--scores", tmp_path / "out" / "_scores")
    again = summary_of(rerank_here(tmp_path / "tomorrow.parquet", tmp_path / "again", *scores, *FLAGS))
    assert 2 <= again["pairs_scored"] <= 6 and again["store_hits"] == again["passages"]["count"] - again["pairs_scored"]
    first = summary_of(
        rerank_here(tmp_path / "in.parquet", tmp_path / "first", "--passage-aggregate", "first", *scores, *FLAGS)
    )
    assert (first["pairs_scored"], first["store_hits"], first["passages"]["documents_cut"]) == (0, 4, 2)


def test_truncated_pairs_are_counted_and_said(tmp_path: Path, rerank_here: Callable[..., Result]) -> None:
    pq.write_table(candidate_sets(SETS), tmp_path / "in.parquet")
    done = rerank_here(tmp_path / "in.parquet", tmp_path / "out", "--max-length", "64", "--max-error-rate", "1")
    summary = summary_of(done)
    assert (summary["pairs_truncated"], summary["passages"]) == (2, None)
    assert "truncated 2 pairs; --passage-tokens 256 would score long documents passage by passage" in done.stderr


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--passage-tokens", "7"), "passages.tokens: input should be greater than or equal to 8, got 7"),
        (("--passage-tokens", "64", "--passage-overlap", "64"), "overlap must be smaller than a passage of 64 tokens"),
        (("--passage-tokens", "9000"), "tokens must be at most 445, which is what the model's limit of 512 tokens"),
        (("--passage-aggregate", "sum"), "passages.aggregate: input should be 'max', 'mean' or 'first', got 'sum'"),
    ],
)
def test_settings_that_cannot_be_used_are_a_sentence(
    tmp_path: Path, rerank_here: Callable[..., Result], flags: tuple[str, ...], message: str
) -> None:
    pq.write_table(candidate_sets(SETS), tmp_path / "in.parquet")
    done = rerank_here(tmp_path / "in.parquet", tmp_path / "out", *flags)
    assert done.exit_code == 2 and message in done.stderr and "Traceback" not in done.stderr
