"""Frames of pandas, Polars and PyArrow come back ranked: all columns kept, in the same library and naming."""

from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from rerank import Reranker, ScorerConfig
from rerank.encoding.pairs import EncodedPairs
from rerank.engines import Scores
from rerank.errors import InputError

OURS = ("query_id", "query", "doc_id", "text")
PYTERRIER = ("qid", "query", "docno", "text")
# The rows of q1 are not side by side. Texts of more tokens score higher; d and e score the same.
PAIRS = [
    ("q1", "warranty", "a", "one"),
    ("q2", "parcel", "c", "one two three"),
    ("q1", "warranty", "b", "one two three"),
    ("q2", "parcel", "d", "one two"),
    ("q1", "warranty", "c", "one two"),
    ("q2", "parcel", "e", "two one"),
]
ORDER = [2, 4, 0, 1, 3, 5]
RANKS = [1, 2, 3, 1, 2, 3]
LIBRARIES = {"pandas": pd.DataFrame, "polars": pl.DataFrame, "pyarrow": pa.table}


class LengthEngine:
    """The logit of a pair is 20 plus its number of tokens: relevance scores in float32 are all 1."""

    lanes = None

    def __init__(self) -> None:
        self.description = {"engine": "length"}

    def score(self, pairs: EncodedPairs) -> Scores:
        return Scores(pairs.lengths.astype(np.float32) + 20, int(pairs.lengths.sum()))


@pytest.fixture(scope="module")
def reranker(folder_of) -> Reranker:
    return Reranker(ScorerConfig(model=str(folder_of("bert"))), engine=LengthEngine())


def columns_of(names: tuple[str, ...], rows: list[tuple] = PAIRS, **more: Any) -> dict[str, list]:
    return {name: [row[at] for row in rows] for at, name in enumerate(names)} | more


def as_dict(frame: Any) -> dict[str, list]:
    if isinstance(frame, pa.Table):
        return frame.to_pydict()
    return frame.to_dict("list") if isinstance(frame, pd.DataFrame) else frame.to_dict(as_series=False)


@pytest.mark.parametrize("make", LIBRARIES.values(), ids=LIBRARIES)
def test_rows_come_back_ranked_with_all_columns(reranker: Reranker, make: Any) -> None:
    frame = make(columns_of(OURS, year=[1, 2, 3, 4, 5, 6]))
    ranked = reranker.rank_frame(frame)
    assert type(ranked) is type(frame)
    found = as_dict(ranked)
    assert list(found) == [*OURS, "year", "rank", "score"]
    assert found["year"] == [row + 1 for row in ORDER]
    assert found["doc_id"] == [PAIRS[row][2] for row in ORDER]
    assert (found["rank"], found["score"]) == (RANKS, [1.0] * 6)
    assert as_dict(frame) == columns_of(OURS, year=[1, 2, 3, 4, 5, 6])  # the caller's frame is as it was


@pytest.mark.parametrize("make", LIBRARIES.values(), ids=LIBRARIES)
def test_a_frame_of_pyterrier_is_ranked_from_0_by_a_score_that_sorts_it(reranker: Reranker, make: Any) -> None:
    frame = make(columns_of(PYTERRIER, rank=[9] * 6, score=[0.5] * 6, docid=list(range(6))))
    found = as_dict(reranker.rank_frame(frame))
    assert list(found) == [*PYTERRIER, "docid", "rank", "score"]
    assert (found["docid"], found["rank"]) == (ORDER, [rank - 1 for rank in RANKS])
    # What PyTerrier's add_ranks does gives the same ranks.
    scores = pd.DataFrame(found).groupby("qid", sort=False)["score"]
    assert (scores.rank(ascending=False, method="first").astype(int) - 1).tolist() == found["rank"]


@pytest.mark.parametrize("make", LIBRARIES.values(), ids=LIBRARIES)
def test_columns_of_the_first_stage_are_kept_under_other_names(reranker: Reranker, make: Any) -> None:
    frame = make(columns_of(OURS, rank=list(range(6)), score=[float(row) for row in range(6)]))
    once = reranker.rank_frame(frame)
    assert list(as_dict(once)) == [*OURS, "input_rank", "source_score", "rank", "score"]
    assert as_dict(once)["input_rank"] == ORDER and as_dict(once)["source_score"] == [float(row) for row in ORDER]
    once_sorted = as_dict(once)["source_score"]
    twice = as_dict(reranker.rank_frame(once))
    names = ["input_rank", "input_source_score", "input_input_rank", "source_score", "rank", "score"]
    assert list(twice) == [*OURS, *names]
    assert twice["input_source_score"] == once_sorted


def test_top_k_keeps_the_best_of_each_query(reranker: Reranker) -> None:
    found = as_dict(reranker.rank_frame(pl.DataFrame(columns_of(OURS)), top_k=1))
    assert (found["query_id"], found["doc_id"]) == (["q1", "q2"], ["b", "c"])


BAD = [
    ("q1", "warranty", "a", "one"),
    ("q1", "warranty", "a", "two"),
    ("q1", "warranty", "b", None),
    ("q1", "another", "c", "three"),
    ("q2", "  ", "d", "four"),
    (None, "parcel", "e", "five"),
    ("q3", "parcel", None, "six"),
    ("q3", "parcel", "f", " "),
    ("q3", "parcel", "g", ""),
]
COMPLAINT = r"8 of 9 pairs cannot be scored: text is blank \(2: rows 7, 8\); doc_id is a duplicate .* \(1: row 1\)"


@pytest.mark.parametrize("make", LIBRARIES.values(), ids=LIBRARIES)
def test_pairs_that_cannot_be_scored_are_counted_by_reason(reranker: Reranker, make: Any) -> None:
    frame = make(columns_of(OURS, BAD))
    with pytest.raises(InputError, match=COMPLAINT) as caught:
        reranker.rank_frame(frame)
    for reason in ("text is null", "query differs from", "query is blank", "query_id is null", "doc_id is null"):
        assert reason in str(caught.value)
    with pytest.warns(UserWarning, match=COMPLAINT + ".*these rows were dropped"):
        found = as_dict(reranker.rank_frame(frame, unscored="warn"))
    assert (found["doc_id"], found["rank"]) == (["a"], [1])


def test_a_pair_without_a_finite_logit_is_no_silent_loss(folder_of) -> None:
    class Broken(LengthEngine):
        def score(self, pairs: EncodedPairs) -> Scores:
            return Scores(np.where(np.arange(len(pairs)) == 4, np.nan, 1.0).astype(np.float32), 1)

    broken = Reranker(ScorerConfig(model=str(folder_of("bert"))), engine=Broken())
    message = r"1 of 6 pairs cannot be scored: logit is not finite \(1: row 3\)"  # the second pair of q2
    with pytest.raises(InputError, match=message):
        broken.rank_frame(pd.DataFrame(columns_of(OURS)))
    with pytest.warns(UserWarning, match=message):
        assert len(broken.rank_frame(pd.DataFrame(columns_of(OURS)), unscored="warn")) == 5


@pytest.mark.parametrize("make", LIBRARIES.values(), ids=LIBRARIES)
@pytest.mark.parametrize("names", [OURS, PYTERRIER])
def test_an_empty_frame_gets_the_columns(reranker: Reranker, make: Any, names: tuple[str, ...]) -> None:
    assert as_dict(reranker.rank_frame(make(columns_of(names, [])))) == columns_of((*names, "rank", "score"), [])


def test_ids_of_any_type_and_categories_are_kept(reranker: Reranker) -> None:
    frame = pd.DataFrame(columns_of(OURS)).assign(query_id=[1, 2, 1, 2, 1, 2])
    frame = frame.astype({"query": "category", "text": "category"}).set_index(pd.Index(list("uvwxyz")))
    ranked = reranker.rank_frame(frame)
    assert ranked["query_id"].tolist() == [1, 1, 1, 2, 2, 2] and ranked.index.tolist() == list(range(6))
    assert (ranked.dtypes[list(OURS)] == frame.dtypes).all()
    categorical = pl.DataFrame(columns_of(OURS)).with_columns(pl.col("query", "doc_id").cast(pl.Categorical))
    assert reranker.rank_frame(categorical).schema["doc_id"] == categorical.schema["doc_id"]


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (columns_of(OURS), "frame must be a pandas or Polars DataFrame or a PyArrow Table, got builtins.dict"),
        (pl.LazyFrame(columns_of(OURS)), r"got polars.LazyFrame; call collect\(\) first"),
        (pd.DataFrame({"qid": ["q"], "text": ["t"]}), "frame must have the columns query_id, .*; got qid, text"),
        (
            pd.DataFrame([["q", "a", "d", "t", "u"]], columns=[*OURS, "text"]),
            "'text' must occur once .*, got it 2 times",
        ),
        (pd.DataFrame(columns_of(OURS)).assign(text=1), "column 'text' must hold strings, got int64"),
        (pd.DataFrame(columns_of(OURS)).assign(text=["a", 1, "b", 2, "c", 3]), "frame cannot be read: .*text"),
    ],
)
def test_refuses_what_is_no_frame_of_pairs(reranker: Reranker, frame: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        reranker.rank_frame(frame)
