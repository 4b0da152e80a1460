"""`rerank plan`: exact counts, estimates from a sample, and nothing written."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from jobs.cli import app
from jobs.input.candidates import Input, open_input
from jobs.pipeline.score_lookup import resolve
from jobs.plan import make_plan
from rerank.config import ScorerConfig
from rerank.errors import InputError
from rerank.store import ScoreStore, hash_pairs
from tests.jobs.tables import pairs_table, write_parts

ROWS = [(f"q{q}", f"query {q}", [(f"d{d}", f"shared text {d}") for d in range(5)]) for q in range(4)]


@pytest.fixture
def source(tmp_path: Path) -> Input:
    write_parts(pairs_table(ROWS), tmp_path / "in", cuts=[8], row_group_size=5)
    return open_input(str(tmp_path / "in"))


def test_counts_and_estimates(source: Input, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    planned = make_plan(source, ScorerConfig(), scores=None, actors=1)
    assert (planned["queries"], planned["pairs"], planned["files"], planned["layout"]) == (4, 20, 2, "pairs")
    assert planned["sampled_pairs"] == planned["pairs_to_score"] == 20
    assert planned["distinct_texts_share"] == 0.25
    assert planned["tokens_to_score"] == pytest.approx(20 * planned["tokens_per_pair"], abs=1)
    assert planned["store_hits_share"] == planned["rejected_share"] == 0
    assert sorted(tmp_path.rglob("*")) == before


def test_prints_a_table_or_json(tmp_path: Path) -> None:
    write_parts(pairs_table(ROWS), tmp_path / "in", cuts=[8], row_group_size=5)
    shown = CliRunner().invoke(app, ["plan", str(tmp_path / "in")])
    assert shown.exit_code == 0, shown.stderr
    lines = [line.split() for line in shown.stdout.splitlines()]
    assert ["pairs", "20"] in lines and ["distinct", "texts", "25.0%"] in lines
    flags = ["--usd-per-hour", "2", "--json", "--dtype", "float32", "--deterministic"]
    told = json.loads(CliRunner().invoke(app, ["plan", str(tmp_path / "in"), *flags]).stdout)
    _, identity, _ = resolve(ScorerConfig(dtype="float32", deterministic=True))
    assert (told["dtype"], told["fingerprint"]) == ("float32", identity.fingerprint)
    assert (told["pairs"], told["distinct_texts_share"]) == (20, 0.25) and told["usd"] >= 0


def test_plans_each_stage_of_a_cascade(tmp_path: Path, folder_of: Callable[[str], Path]) -> None:
    write_parts(pairs_table(ROWS), tmp_path / "in", cuts=[8], row_group_size=5)
    (tmp_path / "cascade.yaml").write_text(
        f"stages: [{{model: {folder_of('bert')}, keep: 2}}, {{model: docs-mini, actors: 3}}]"
    )
    line = ["plan", str(tmp_path / "in"), "--config", str(tmp_path / "cascade.yaml"), "--usd-per-hour", "2"]
    told = json.loads(CliRunner().invoke(app, [*line, "--json"]).stdout)
    first, second = told["stages"]
    assert (told["pairs"], first["pairs_to_score"], second["pairs_to_score"]) == (20, 20, 4 * 2)
    assert (first["keep"], second["keep"], second["actors"]) == (2, None, 3)
    assert second["tokens_to_score"] == pytest.approx(8 * second["tokens_per_pair"], abs=8)
    assert told["tokens_to_score"] == first["tokens_to_score"] + second["tokens_to_score"]
    assert first["fingerprint"] != second["fingerprint"]
    shown = CliRunner().invoke(app, line)
    lines = [line.split() for line in shown.stdout.splitlines()]
    assert ["stage", "2", "pairs", "to", "score", "8"] in lines and ["stage", "2", "keep", "all"] in lines


def test_text_is_planned_as_parquet_is_and_nothing_is_left(tmp_path: Path) -> None:
    pairs_table(ROWS).to_pandas().to_json(tmp_path / "in.jsonl", orient="records", lines=True)
    before = sorted(tmp_path.rglob("*"))
    told = json.loads(CliRunner().invoke(app, ["plan", str(tmp_path / "in.jsonl"), "--limit", "3", "--json"]).stdout)
    assert (told["layout"], told["files"], told["queries"], told["pairs"]) == ("pairs", 1, 3, 15)
    assert sorted(tmp_path.rglob("*")) == before


def test_knows_what_the_store_has(source: Input, tmp_path: Path) -> None:
    _, identity, _ = resolve(ScorerConfig())
    table = pairs_table(ROWS[:2])
    keys = hash_pairs(table["query"], table["text"], np.arange(10, dtype=np.int32))
    store = ScoreStore(str(tmp_path / "scores"), identity.fingerprint)
    store.append(keys, np.ones(10, dtype=np.float32), np.ones(10, dtype=np.int32))
    planned = make_plan(source, ScorerConfig(), scores=store.uri, actors=1)
    assert (planned["store_hits_share"], planned["pairs_to_score"]) == (0.5, 10)


def test_refuses_rows_that_are_not_clustered(tmp_path: Path) -> None:
    write_parts(pairs_table([*ROWS, ROWS[0]]), tmp_path / "in", cuts=[], row_group_size=50)
    with pytest.raises(InputError, match="not clustered"):
        open_input(str(tmp_path / "in"))


def test_splits_are_those_of_the_run(tmp_path: Path) -> None:
    rows = [(f"q{q}", "a query", [(f"d{d}", "text") for d in range(10)]) for q in range(2_000)]
    write_parts(pairs_table(rows), tmp_path / "in", cuts=[], row_group_size=100)
    source = open_input(str(tmp_path / "in"))
    # Blocks of 4,096 pairs on a CPU, four a split, at borders of 100 rows: 16,400 and 3,600.
    assert make_plan(source, ScorerConfig(device="cpu"))["splits"] == 2
    assert make_plan(source, ScorerConfig(device="cpu"), block_pairs=25)["splits"] == 200


def test_rows_that_lie_apart(tmp_path: Path) -> None:
    whole = pairs_table(ROWS)
    write_parts(whole.take(list(range(0, 20, 2)) + list(range(1, 20, 2))), tmp_path / "in", cuts=[], row_group_size=7)
    planned = make_plan(open_input(str(tmp_path / "in"), regroup=True), ScorerConfig())
    assert (planned["layout"], planned["queries"], planned["pairs"]) == ("pairs, to be grouped by query", 4, 20)
    assert (planned["sampled_pairs"], planned["pairs_to_score"], planned["splits"]) == (20, 20, 1)


def test_a_run_with_its_texts(tmp_path: Path) -> None:
    run = pa.table({"query_id": ["q0", "q0", "q1"], "doc_id": ["a", "gone", "b"], "score": [3.0, 2.0, 1.0]})
    write_parts(run, tmp_path / "run", cuts=[], row_group_size=2)
    pq.write_table(pa.table({"doc_id": list("abc"), "text": ["one text", "another", "unused"]}), tmp_path / "c.parquet")
    pq.write_table(pa.table({"query_id": ["q0", "q1"], "query": ["what?", "who?"]}), tmp_path / "q.parquet")
    given = open_input(str(tmp_path / "run"), corpus=str(tmp_path / "c.parquet"), queries=str(tmp_path / "q.parquet"))
    planned = make_plan(given, ScorerConfig())
    assert (planned["layout"], planned["files"], planned["queries"]) == ("run, to be joined with its texts", 3, 2)
    assert (planned["sampled_pairs"], planned["pairs_to_score"]) == (3, 2)
    assert planned["rejected_share"] == pytest.approx(1 / 3, abs=1e-4), "a document that the corpus lacks"
