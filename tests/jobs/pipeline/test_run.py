"""`rerank run` with the bundled model and real files: as a person types it, then in this process."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import Result

from jobs.evaluation.ranked import read_ranked
from jobs.evaluation.rankings import read_run
from rerank import Reranker, ScorerConfig
from rerank.ranking.fusion import ScoreFusion
from tests.fakes import candidate_sets
from tests.jobs.processes import command, summary_of
from tests.jobs.tables import WORDS, pairs_table, write_parts

pytestmark = pytest.mark.ray

ROWS = [
    (f"q{q}", f"how does {WORDS[q]} work?", [(f"d{d}", " ".join(WORDS[d % 7 : d % 7 + 2 + d])) for d in range(4 + q)])
    for q in range(9)
]
PAIRS = sum(len(candidates) for _, _, candidates in ROWS)


FLOAT32 = ("--dtype", "float32")  # no other batch changes its logits by more than 1e-4


def by_query(folder: Path) -> pa.Table:
    return pq.read_table(folder).sort_by([("query_id", "ascending"), ("rank", "ascending")])


@pytest.fixture(scope="module")
def ranked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """The pairs layout in small row groups of three files, ranked."""
    folder = tmp_path_factory.mktemp("run")
    write_parts(pairs_table(ROWS), folder / "in", cuts=[17, 40], row_group_size=5)
    return folder, command("run", folder / "in", folder / "out", *FLOAT32)


def test_ranks_what_one_process_ranks(ranked: tuple[Path, Any]) -> None:
    folder, _ = ranked
    table = by_query(folder / "out")
    assert table.column_names == ["query_id", "doc_id", "rank", "score", "logit", "source_rank", "bm25"]
    reranker = Reranker(ScorerConfig(dtype="float32"))
    for query_id, query, candidates in ROWS:
        alone = reranker.rank(query, [text for _, text in candidates])
        rows = table.filter(pa.compute.equal(table["query_id"], query_id)).to_pylist()
        assert [row["rank"] for row in rows] == list(range(1, len(candidates) + 1))
        assert [row["doc_id"] for row in rows] == [candidates[found.index][0] for found in alone.ranked]
        np.testing.assert_allclose([row["logit"] for row in rows], [found.logit for found in alone.ranked], atol=1e-4)
        assert [row["bm25"] for row in rows] == [1.0 / row["source_rank"] for row in rows]


def test_says_one_json_line_and_nothing_of_ray(ranked: tuple[Path, Any]) -> None:
    folder, done = ranked
    summary = summary_of(done)
    assert len(done.stdout.splitlines()) == 1
    assert all(line.startswith("reranking: ") for line in done.stderr.splitlines()), done.stderr
    assert summary == json.loads((folder / "out" / "_manifest.json").read_text())
    assert summary["queries_read"] == summary["queries_ranked"] == len(ROWS)
    assert summary["pairs_read"] == summary["pairs_ranked"] == summary["pairs_scored"] == PAIRS
    assert summary["queries_rejected"] == summary["pairs_rejected"] == summary["store_hits"] == 0
    assert sum(file["rows"] for file in summary["files"]) == PAIRS


def test_scores_nothing_twice(ranked: tuple[Path, Any], tmp_path: Path, rerank_here: Callable[..., Result]) -> None:
    folder, _ = ranked
    queries = tmp_path / "queries.parquet"
    pq.write_table(candidate_sets(ROWS), queries, row_group_size=2)
    scores = folder / "out" / "_scores"
    summary = summary_of(rerank_here(queries, tmp_path / "out", "--top-k", "2", "--scores", scores, *FLOAT32))
    assert (summary["pairs_scored"], summary["store_hits"]) == (0, PAIRS)
    whole, best = by_query(folder / "out").drop_columns(["bm25"]), by_query(tmp_path / "out")
    assert best.equals(whole.filter(pa.compute.less_equal(whole["rank"], 2)))


def test_rejects_with_reasons_and_loses_nothing(tmp_path: Path, rerank_here: Callable[..., Result]) -> None:
    rows = [("q1", "one", [("a", "x"), ("b", None)]), ("q2", None, [("a", "x")]), ("q3", "three", []), *ROWS[:1]]
    rows.append(("q1", "one again", [("a", "x")]))
    pq.write_table(candidate_sets(rows), tmp_path / "in.parquet")
    summary = summary_of(rerank_here(tmp_path / "in.parquet", tmp_path / "out", "--max-error-rate", "1", *FLOAT32))
    assert (summary["queries_read"], summary["queries_ranked"], summary["queries_rejected"]) == (5, 2, 3)
    assert (summary["pairs_read"], summary["pairs_ranked"], summary["pairs_rejected"]) == (8, 5, 3)
    assert pq.read_table(tmp_path / "out" / "_errors").num_rows == 4


def test_a_model_that_is_not_there_is_a_sentence(tmp_path: Path, rerank_here: Callable[..., Result]) -> None:
    pq.write_table(candidate_sets(ROWS), tmp_path / "in.parquet")
    done = rerank_here(tmp_path / "in.parquet", tmp_path / "out", "--model", tmp_path / "nowhere")
    assert done.exit_code == 2
    assert "neither a folder nor a model on the Hub" in done.stderr
    assert "Traceback" not in done.stderr


def test_depth_and_mixture_are_what_the_tuner_foresaw(
    ranked: tuple[Path, Any], tmp_path: Path, rerank_here: Callable[..., Result]
) -> None:
    folder, _ = ranked
    flags = ("--column", "score=bm25", "--scores", folder / "out" / "_scores", *FLOAT32)
    everything = summary_of(rerank_here(folder / "in", tmp_path / "all", *flags))
    assert (everything["pairs_scored"], everything["cut"]) == (0, {})
    pairs, _ = read_ranked(str(tmp_path / "all"))
    foreseen = pairs.ranking(pairs.order(depth=3, fusion=ScoreFusion.parse("scores:0.6")))

    line = ("--depth", "3", "--mix", "scores:0.6", "--trec", tmp_path / "run.txt")
    summary = summary_of(rerank_here(folder / "in", tmp_path / "cut", *flags, *line))
    assert summary["cut"] == {"depth": 3, "mix": "scores:0.6"}
    assert (summary["store_hits"], summary["pairs_ranked"], summary["pairs_rejected"]) == (3 * len(ROWS), PAIRS, 0)
    rows = by_query(tmp_path / "cut").to_pylist()
    assert {
        query_id: [row["doc_id"] for row in rows if row["query_id"] == query_id] for query_id in foreseen
    } == foreseen
    assert all((row["logit"] is None) == (row["score"] is None) == (row["source_rank"] > 3) for row in rows)
    assert read_run(str(tmp_path / "run.txt")).ranking == foreseen


def test_scores_that_are_not_there_cannot_be_mixed(
    ranked: tuple[Path, Any], tmp_path: Path, rerank_here: Callable[..., Result]
) -> None:
    done = rerank_here(ranked[0] / "in", tmp_path / "out", "--mix", "scores:0.6")
    assert done.exit_code == 2
    assert "--mix scores:0.6 needs the first stage's scores, a column 'score' of numbers; the candidates" in done.stderr
    assert not (tmp_path / "out").exists()
    done = rerank_here(ranked[0] / "in", tmp_path / "out", "--mix", "half")
    assert done.exit_code == 2 and "mix must be METHOD:WEIGHT" in done.stderr
