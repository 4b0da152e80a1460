"""Runs in every format that we read, and what is said of files that are none."""

import gzip
from pathlib import Path

import ir_measures
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.evaluation.measures import Judge
from jobs.evaluation.rankings import RunFormat, read_run
from jobs.formats.pair_rows import count_pairs, fitting, pair_columns, read_pairs
from rerank.errors import InputError
from rerank.paths import locate
from tests.fakes import candidate_sets
from tests.jobs.runs import FIRST_STAGE, write_candidates, write_ranked

RANKED = {"q1": ["c", "b", "a", "d"], "q2": ["e", "f", "g"], "q3": ["h", "i"]}


def test_our_output_tells_both_orders(tmp_path: Path) -> None:
    run = read_run(str(write_ranked(tmp_path / "out")))
    assert (run.ranking, run.first_stage, run.cut) == (RANKED, FIRST_STAGE, False)


def test_our_output_that_was_cut_does_not_tell_its_first_stage(tmp_path: Path) -> None:
    run = read_run(str(write_ranked(tmp_path / "out", top_k=2)))
    assert run.ranking == {query_id: doc_ids[:2] for query_id, doc_ids in RANKED.items()}
    assert (run.first_stage, run.cut) == (None, True)


def test_our_output_in_the_queries_layout(tmp_path: Path) -> None:
    ranked = [{"doc_id": 7, "rank": 2, "source_rank": 1}, {"doc_id": 8, "rank": 1, "source_rank": 2}]
    pq.write_table(pa.table({"query_id": [1], "candidates": [ranked]}), tmp_path / "out.parquet")
    run = read_run(str(tmp_path / "out.parquet"))
    assert (run.ranking, run.first_stage) == ({"1": ["8", "7"]}, {"1": ["7", "8"]})


def test_candidate_sets_are_in_first_stage_order_in_both_layouts(tmp_path: Path) -> None:
    assert read_run(str(write_candidates(tmp_path / "pairs.parquet"))).ranking == FIRST_STAGE
    sets = [(query_id, "?", [(doc_id, "x") for doc_id in doc_ids]) for query_id, doc_ids in FIRST_STAGE.items()]
    sets[0][2].append(("b", "again"))
    sets[0][2].append((None, "no id"))
    pq.write_table(candidate_sets(sets), tmp_path / "queries.parquet")
    assert read_run(str(tmp_path / "queries.parquet")).ranking == FIRST_STAGE


@pytest.mark.parametrize(
    ("column", "values"), [("rank", [3, 1, 2]), ("score", [0.1, 0.9, 0.2]), ("score", np.array([1, 9, 2], "uint8"))]
)
def test_plain_parquet_is_ordered_by_rank_or_score(tmp_path: Path, column: str, values: list[float]) -> None:
    table = pa.table({"query_id": ["q"] * 3, "doc_id": ["x", "y", "z"], column: values})
    pq.write_table(table, tmp_path / "run.parquet")
    assert read_run(str(tmp_path / "run.parquet")).ranking == {"q": ["y", "z", "x"]}


def test_trec_runs_are_read_as_trec_eval_reads_them(tmp_path: Path) -> None:
    # The rank column is ignored; equal scores, also those equal in 32 bits alone, go by doc_id from Z to A.
    lines = ["q Q0 a 1 0.5 t", "q Q0 c 2 0.50000000001 t", "q\tQ0\tb\t3\t0.5\tt", "", "q Q0 d 9 2e0 t", "p Q0 a 1 1 t"]
    with gzip.open(tmp_path / "run.trec.gz", "wt") as file:
        file.write("\n".join(lines))
    run = read_run(str(tmp_path / "run.trec.gz"))
    assert run.ranking == {"q": ["d", "c", "b", "a"], "p": ["a"]}
    scores = {"q": {"a": 0.5, "b": 0.5, "c": 0.50000000001, "d": 2.0}}
    for relevant in "abcd":
        qrels = {"q": {relevant: 1}}
        theirs = ir_measures.calc_aggregate([ir_measures.RR], qrels, scores)[ir_measures.RR]
        assert Judge(qrels, ["RR"]).values(run.ranking)[0, 0] == theirs


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.trec", "q Q0 d 1 2.0", "line 1: a TREC run has 6 columns, query_id Q0 doc_id rank score tag; found 5"),
        ("a.trec", "q Q0 d 1 high t", "line 1: score must be a number, got 'high'"),
        ("a.trec", "q Q0 c 1 2.0 t\nq Q0 d 2 nan t", "line 2: score must be a number, got 'nan'"),
        ("a.trec", "", "holds no lines"),
        ("a.trec", "q Q0 d 1 2 t\nq Q0 d 2 1 t", "query_id 'q' has doc_id 'd' twice"),
        ("a.parquet", "no", "not a readable Parquet file"),
    ],
)
def test_what_is_no_run_is_a_sentence(tmp_path: Path, name: str, content: str, sentence: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError) as caught:
        read_run(str(tmp_path / name))
    assert sentence in str(caught.value)


def test_a_table_without_an_order_is_no_run(tmp_path: Path) -> None:
    pq.write_table(pa.table({"query_id": ["q"], "doc_id": ["d"]}), tmp_path / "a.parquet")
    with pytest.raises(InputError, match=r"not a run: expected our ranked output .*; found query_id, doc_id$"):
        read_run(str(tmp_path / "a.parquet"))
    pq.write_table(pa.table({"query_id": ["q"], "doc_id": ["d"], "score": ["high"]}), tmp_path / "b.parquet")
    with pytest.raises(InputError, match="rank and score must be numbers, found large_string"):
        read_run(str(tmp_path / "b.parquet"))
    for score in (None, float("nan")):
        table = pa.table({"query_id": ["q"], "doc_id": ["d"], "score": pa.array([score], pa.float64())})
        pq.write_table(table, tmp_path / "c.parquet")
        with pytest.raises(InputError, match="score must be a number, found none for query_id 'q', doc_id 'd'"):
            read_run(str(tmp_path / "c.parquet"))
    with pytest.raises(InputError, match="no such file or directory"):
        read_run(str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match="cannot be read"):
        read_run(str(tmp_path / "nowhere"), RunFormat.TREC)


def test_renamed_lists_are_read_under_our_names(tmp_path: Path) -> None:
    rows = [("q1", "why?", [("a", "x"), ("b", "y")]), ("q2", "how?", None), ("q3", "when?", [("c", "z")])]
    table = candidate_sets(rows).rename_columns({"candidates": "hits", "query": "asked"})
    pq.write_table(table, tmp_path / "in.parquet")
    location = locate(str(tmp_path / "in.parquet"))
    renames = fitting(location, {"candidates": "hits", "query": "asked", "text": "body"})
    assert renames == {"candidates": "hits", "query": "asked"}
    assert pair_columns(location, renames).keys() == {"query_id", "query", "doc_id", "text"}
    found = read_pairs(location, ["query", "text"], renames=renames, only=["q1", "q2"]).to_pylist()
    assert [list(row.values()) for row in found] == [["q1", "a", "why?", "x"], ["q1", "b", "why?", "y"]]
    assert count_pairs(location) == 4  # the query without candidates counts as one
