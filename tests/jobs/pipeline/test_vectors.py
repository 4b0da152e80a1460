"""Candidates that bring vectors: the job ranks them as `Reranker` does, and rejects those that it cannot compare."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import Result

from rerank import Reranker, ScorerConfig
from rerank.encoding.texts import TextEncoder
from rerank.engines import VectorEngine
from rerank.ranking.candidates import CandidateSets
from tests.jobs.processes import summary_of
from tests.models import CORPUS
from tests.text_models import WIDTH, make_late_interaction

pytestmark = pytest.mark.ray

QUERIES = ["How do I return a parcel?", CORPUS[1], "short"]


@pytest.fixture(scope="module")
def model(folder_of: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A late-interaction model, and candidate sets with its vectors: of 3 documents it has none, or none of use."""
    folder = tmp_path_factory.mktemp("tokens") / "model"
    make_late_interaction(folder_of("bert"), folder)
    reranker = Reranker(ScorerConfig(model=str(folder), dtype="float32", device="cpu"))
    encoder, engine = cast(TextEncoder, reranker.encoder), cast(VectorEngine, reranker.engine)
    vectors = engine.vectors(encoder.encode_texts(CORPUS, is_query=False))
    brought = [each.tolist() for each in vectors]
    brought[-3:] = [None, [[1.0]], [[float("nan")] * WIDTH]]
    candidates = pa.table(
        {
            "doc_id": [f"d{at}" for at in range(len(CORPUS))] * len(QUERIES),
            "vectors": pa.array(brought * len(QUERIES), pa.list_(pa.list_(pa.float32()))),
        }
    )
    queries = pa.table({"query_id": [f"q{at}" for at in range(len(QUERIES))], "query": QUERIES})
    sets = CandidateSets(queries, candidates, np.arange(len(QUERIES) + 1) * len(CORPUS))
    return SimpleNamespace(folder=folder, sets=sets, ranked=reranker.rank_table(sets.to_table()))


def rows(ranked: pa.Table) -> dict[tuple[str, str], float]:
    return {(row["query_id"], row["doc_id"]): row["logit"] for row in ranked.to_pylist()}


@pytest.mark.parametrize("layout", ["pairs", "queries"])
def test_the_job_ranks_vectors_as_one_process_does(
    tmp_path: Path, model: SimpleNamespace, rerank_here: Callable[..., Result], layout: str
) -> None:
    table = model.sets.to_rows() if layout == "pairs" else model.sets.to_table()
    pq.write_table(table, tmp_path / "in.parquet", row_group_size=2)
    options = ("--model", model.folder, "--dtype", "float32", "--max-error-rate", "1", "--device", "cpu")
    summary = summary_of(rerank_here(tmp_path / "in.parquet", tmp_path / "out", *options))
    assert summary["pairs_rejected"] == 3 * len(QUERIES)
    written = pq.read_table(tmp_path / "out")
    assert written.column_names == ["query_id", "doc_id", "rank", "score", "logit", "source_rank"]
    expected = rows(CandidateSets.from_table(model.ranked.select(["query_id", "candidates"])).to_rows())
    found = rows(written)
    assert found.keys() == expected.keys()
    np.testing.assert_allclose([found[key] for key in expected], list(expected.values()), atol=1e-4)
    reasons = pq.read_table(tmp_path / "out" / "_errors").to_pylist()
    assert {row["reason"] for row in reasons} == {
        "text and vectors are null",
        "vectors are not as wide as those of the model",
        "vectors hold NaN or infinity",
    }
    again = summary_of(
        rerank_here(tmp_path / "in.parquet", tmp_path / "again", "--scores", tmp_path / "out" / "_scores", *options)
    )
    assert (again["pairs_scored"], again["store_hits"]) == (0, len(expected))


def test_a_model_that_reads_pairs_refuses_vectors_alone(
    tmp_path: Path, model: SimpleNamespace, rerank_here: Callable[..., Result]
) -> None:
    pq.write_table(model.sets.to_table(), tmp_path / "in.parquet")
    done = rerank_here(tmp_path / "in.parquet", tmp_path / "out")
    assert done.exit_code != 0
    assert "candidates need a column 'text', got only 'vectors'" in done.stderr
    assert not (tmp_path / "out" / "_manifest.json").exists()
