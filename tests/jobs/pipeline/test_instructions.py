"""Instructions in a job: the column of a query wins over the flag, and scores are stored for what was read."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import Result

from rerank import Reranker, ScorerConfig
from tests.jobs.processes import summary_of
from tests.jobs.tables import pairs_table

pytestmark = pytest.mark.ray

TEXTS = ["list.sort sorts in place", "sorted returns a new list", "a key function"]
INSTRUCTIONS = {"q1": "Prefer official documentation.", "q2": None, "q3": " "}


def test_the_column_wins_over_the_flag(tmp_path: Path, rerank_here: Callable[..., Result]) -> None:
    rows = [
        (query_id, "how to sort a list", [(str(at), text) for at, text in enumerate(TEXTS)])
        for query_id in INSTRUCTIONS
    ]
    table = pairs_table(rows)
    column = pa.array([INSTRUCTIONS[query_id] for query_id in table["query_id"].to_pylist()])
    pq.write_table(table.append_column("instruction", column), tmp_path / "in.parquet")
    flags = ("--dtype", "float32", "--device", "cpu", "--scores", tmp_path / "scores")
    instructed = ("--instruction", "Short answers.")
    summary = summary_of(rerank_here(tmp_path / "in.parquet", tmp_path / "out", *flags, *instructed))
    assert summary["pairs_ranked"] == 9
    written = pq.read_table(tmp_path / "out")
    assert "instruction" not in written.column_names
    reranker = Reranker(ScorerConfig(dtype="float32", device="cpu"))
    for query_id, own in INSTRUCTIONS.items():
        instruction = own if own and own.strip() else "Short answers."
        expected = {
            str(place.index): place.logit for place in reranker.rank(rows[0][1], TEXTS, instruction=instruction)
        }
        found = {row["doc_id"]: row["logit"] for row in written.to_pylist() if row["query_id"] == query_id}
        assert found.keys() == expected.keys()
        np.testing.assert_allclose([found[key] for key in expected], list(expected.values()), atol=1e-4)
    without = summary_of(rerank_here(tmp_path / "in.parquet", tmp_path / "plain", *flags))
    assert (without["store_hits"], without["pairs_scored"]) == (3, 6)  # only q1 is read as before
