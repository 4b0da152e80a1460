"""Ranks: by logit, equal ones in candidate order, NaN never."""

import numpy as np
import pyarrow as pa
import pytest

from rerank.ranking.candidates import CandidateSets
from rerank.ranking.rank import rank
from rerank.ranking.relevance import relevance_scores
from tests.fakes import candidate_sets

NAN = float("nan")


def ranked(logits: list[list[float]], **cuts) -> list[list[tuple]]:
    """(doc_id, rank, score, logit, source_rank) of queries whose candidates are called 0, 1, 2, …"""
    rows = [(row, "q", [(place, "x") for place in range(len(values))]) for row, values in enumerate(logits)]
    flat = np.array([logit for values in logits for logit in values], dtype=np.float32)
    table = rank(CandidateSets.from_table(candidate_sets(rows)), flat, relevance_scores(flat), **cuts).to_table()
    return [[tuple(entry.values())[:5] for entry in row] for row in table["candidates"].to_pylist()]


def documents(rows: list[list[tuple]]) -> list[list[int]]:
    return [[entry[0] for entry in row] for row in rows]


def test_the_best_logit_comes_first_in_each_query():
    high, low = pytest.approx(0.880797, abs=1e-6), pytest.approx(0.119203, abs=1e-6)
    assert ranked([[0.0, 2.0, -2.0], [], [2.0]]) == [
        [(1, 1, high, 2.0, 2), (0, 2, 0.5, 0.0, 1), (2, 3, low, -2.0, 3)],
        [],
        [(0, 1, high, 2.0, 1)],
    ]


def test_equal_logits_keep_candidate_order():
    assert documents(ranked([[1.0, 3.0, 1.0, 3.0, 1.0]])) == [[1, 3, 0, 2, 4]]
    assert documents(ranked([[0.0, -0.0, 0.0]])) == [[0, 1, 2]]


def test_logits_are_sorted_where_scores_saturate():
    (row,) = ranked([[18.0, 90.0, 40.0]])
    assert [entry[2] for entry in row] == [1.0, 1.0, 1.0]
    assert documents([row]) == [[1, 2, 0]]
    assert documents(ranked([[8.0, 9.0], [-90.0, -80.0]])) == [[1, 0], [1, 0]]


def test_what_is_no_number_is_never_ranked():
    assert documents(ranked([[NAN, 1.0, float("inf"), 2.0, float("-inf")], [NAN]])) == [[3, 1], []]


def test_top_k_and_min_score_apply_to_each_query():
    logits = [[0.0, 2.0, -1.0], [NAN, 3.0], [-5.0]]
    assert documents(ranked(logits, top_k=1)) == [[1], [1], [0]]
    assert documents(ranked(logits, top_k=2)) == [[1, 0], [1], [0]]
    assert documents(ranked(logits, min_score=0.5)) == [[1, 0], [1], []]
    assert documents(ranked(logits, min_score=0.5, top_k=1)) == [[1], [1], []]


def test_the_relevance_score_is_the_sigmoid_at_every_size():
    logits = np.array([-700, -80, -17.5, -1, 0, 1, 17.5, 90, 700], dtype=np.float32)
    scores = relevance_scores(logits)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, 1 / (1 + np.exp(-logits.astype(np.float64))), rtol=1e-6, atol=1e-38)
    assert np.isfinite(scores).all()
    assert np.isnan(relevance_scores(np.array([NAN], dtype=np.float32))).all()


def test_carried_fields_travel_and_the_id_comes_first():
    struct = [("rank", pa.int64()), ("url", pa.string()), ("doc_id", pa.int32()), ("tags", pa.list_(pa.string()))]
    entries = [{"rank": 9, "url": name, "doc_id": place, "tags": [name]} for place, name in enumerate("ab")]
    table = pa.table({"lang": ["de"], "candidates": pa.array([entries], pa.list_(pa.struct(struct)))})
    logits = np.array([1.0, 2.0], dtype=np.float32)
    out = rank(CandidateSets.from_table(table), logits, relevance_scores(logits)).to_table()
    fields = out.schema.field("candidates").type.value_type
    assert [field.name for field in fields] == ["doc_id", "rank", "score", "logit", "source_rank", "url", "tags"]
    assert [str(field.type) for field in fields][:5] == ["int32", "int32", "float", "float", "int32"]
    assert out["lang"].to_pylist() == ["de"]
    first, second = out["candidates"].to_pylist()[0]
    assert (first["url"], first["rank"], first["tags"]) == ("b", 1, ["b"])
    assert (second["url"], second["rank"], second["tags"]) == ("a", 2, ["a"])
