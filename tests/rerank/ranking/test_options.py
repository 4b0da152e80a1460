"""What is scored, what it is sorted by, and what is kept: depth and mixtures."""

import numpy as np
import pyarrow as pa
import pytest

from rerank import Reranker, ScorerConfig
from rerank.errors import InputError
from rerank.prepare import prepare
from rerank.ranking.fusion import ScoreFusion
from rerank.ranking.options import RankingOptions, source_scores
from tests.fakes import ListedEngine


@pytest.fixture(scope="module")
def folder(folder_of):
    return str(folder_of("bert"))


def table(scores: list[float | None]) -> pa.Table:
    rows = [
        {"doc_id": name, "text": f"text {name}", "score": score} for name, score in zip("abcd", scores, strict=True)
    ]
    return pa.table({"query_id": ["1"], "query": ["q"], "candidates": [rows]})


def ranked(
    folder: str, logits: list[float], options: RankingOptions, scores: tuple[float | None, ...] = (9, 5, 4, 1)
) -> list[dict]:
    reranker = Reranker(ScorerConfig(model=folder), engine=ListedEngine(logits))
    return reranker.rank_table(table(list(scores)), options=options).column("candidates").to_pylist()[0]


def test_what_lies_below_the_depth_follows_without_a_score(folder):
    found = ranked(folder, [1.0, 3.0], RankingOptions(depth=2))
    assert [(row["doc_id"], row["rank"], row["logit"], row["score"] is None) for row in found] == [
        ("b", 1, 3.0, False),
        ("a", 2, 1.0, False),
        ("c", 3, None, True),
        ("d", 4, None, True),
    ]
    assert [row["doc_id"] for row in ranked(folder, [1.0, 3.0], RankingOptions(depth=2, top_k=3))] == ["b", "a", "c"]
    assert [row["doc_id"] for row in ranked(folder, [1.0, 3.0], RankingOptions(depth=2, min_score=0.0))] == ["b", "a"]
    assert len(ranked(folder, [1.0, 3.0, 2.0, 0.0], RankingOptions(depth=9))) == 4


def test_the_usage_counts_what_was_ranked_and_what_was_scored(folder):
    reranker = Reranker(ScorerConfig(model=folder), engine=ListedEngine([1.0, 3.0]))
    prepared = prepare(table([9, 5, 4, 1]), reranker.encoder, depth=2)
    (usage,) = reranker.rank_table(prepared).column("usage").to_pylist()
    assert (usage["pairs_ranked"], usage["pairs_scored"]) == (4, 2)


def test_a_mixture_moves_ranks_and_leaves_logits_and_scores_alone(folder):
    logits = [0.0, 1.0, 2.0, 2.5]
    plain = ranked(folder, logits, RankingOptions())
    mixed = ranked(folder, logits, RankingOptions(fusion=ScoreFusion.parse("scores:0.5")))
    # By hand: (0, 0.4, 0.8, 1) and (1, 0.5, 0.375, 0), half of each.
    assert [row["doc_id"] for row in plain] == ["d", "c", "b", "a"]
    assert [row["doc_id"] for row in mixed] == ["c", "a", "d", "b"]
    assert {row["doc_id"]: (row["logit"], row["score"]) for row in mixed} == {
        row["doc_id"]: (row["logit"], row["score"]) for row in plain
    }
    assert [row["rank"] for row in mixed] == [1, 2, 3, 4]
    assert [row["doc_id"] for row in ranked(folder, logits, RankingOptions(fusion=ScoreFusion.parse("rrf:0")))] == list(
        "abcd"
    )


def test_a_mixture_reaches_no_deeper_than_the_depth(folder):
    found = ranked(folder, [0.0, 1.0], RankingOptions(depth=2, fusion=ScoreFusion.parse("scores:0.1")), (1, 2, 99, 100))
    assert [row["doc_id"] for row in found] == ["b", "a", "c", "d"]


def test_the_first_stages_score_is_carried_under_its_own_name(folder):
    found = ranked(folder, [1.0, 3.0, 2.0, 0.0], RankingOptions())
    assert {row["doc_id"]: row["source_score"] for row in found} == {"a": 9, "b": 5, "c": 4, "d": 1}
    assert list(found[0])[:6] == ["doc_id", "rank", "score", "logit", "source_rank", "source_score"]


def test_scores_that_are_missing_or_no_numbers_are_named(folder):
    bare = pa.table({"query_id": ["1"], "query": ["q"], "candidates": [[{"doc_id": "a", "text": "x"}]]})
    reranker = Reranker(ScorerConfig(model=folder), engine=ListedEngine([1.0]))
    with pytest.raises(InputError, match="needs the first stage's scores"):
        reranker.rank_table(bare, options=RankingOptions(fusion=ScoreFusion.parse("scores:0.5")))
    with pytest.raises(InputError, match="score must be a number, got string"):
        source_scores(pa.table({"source_score": ["high"]}))
    found = source_scores(pa.table({"source_score": pa.array([1, None])}))
    np.testing.assert_array_equal(found, [1.0, np.nan])
