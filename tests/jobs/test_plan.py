"""`rerank plan`: exact counts, estimates from a sample, and nothing written."""

from pathlib import Path

import numpy as np
import pytest

from jobs.memory import resolve
from jobs.plan import make_plan
from jobs.source import Source, open_source
from rerank.config import ScorerConfig
from rerank.errors import InputError
from rerank.store import ScoreStore, pair_keys
from tests.jobs.tables import pairs_table, write_parts

ROWS = [(f"q{q}", f"query {q}", [(f"d{d}", f"shared text {d}") for d in range(5)]) for q in range(4)]


@pytest.fixture
def source(tmp_path: Path) -> Source:
    write_parts(pairs_table(ROWS), tmp_path / "in", cuts=[8], row_group_size=5)
    return open_source(str(tmp_path / "in"))


def test_counts_and_estimates(source: Source, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    planned = make_plan(source, ScorerConfig(), scores=None, actors=1)
    assert (planned["queries"], planned["pairs"], planned["files"], planned["layout"]) == (4, 20, 2, "pairs")
    assert planned["sampled_pairs"] == planned["pairs_to_score"] == 20
    assert planned["distinct_texts_share"] == 0.25
    assert planned["tokens_to_score"] == pytest.approx(20 * planned["tokens_per_pair"], abs=1)
    assert planned["store_hits_share"] == planned["rejected_share"] == 0
    assert sorted(tmp_path.rglob("*")) == before


def test_knows_what_the_store_has(source: Source, tmp_path: Path) -> None:
    _, identity = resolve(ScorerConfig())
    table = pairs_table(ROWS[:2])
    keys = pair_keys(table["query"], table["text"], np.arange(10, dtype=np.int32))
    store = ScoreStore(str(tmp_path / "scores"), identity.fingerprint)
    store.append(keys, np.ones(10, dtype=np.float32), np.ones(10, dtype=np.int32))
    planned = make_plan(source, ScorerConfig(), scores=store.uri, actors=1)
    assert (planned["store_hits_share"], planned["pairs_to_score"]) == (0.5, 10)


def test_refuses_rows_that_are_not_clustered(tmp_path: Path) -> None:
    write_parts(pairs_table([*ROWS, ROWS[0]]), tmp_path / "in", cuts=[], row_group_size=50)
    with pytest.raises(InputError, match="not clustered"):
        make_plan(open_source(str(tmp_path / "in")), ScorerConfig(), scores=None, actors=1)


def test_splits_are_those_of_the_run(tmp_path: Path) -> None:
    rows = [(f"q{q}", "a query", [(f"d{d}", "text") for d in range(10)]) for q in range(200)]
    write_parts(pairs_table(rows), tmp_path / "in", cuts=[], row_group_size=100)
    source = open_source(str(tmp_path / "in"))
    # Blocks of 256 pairs on a CPU, four a split, at borders of 100 rows: 1,100 and 900.
    assert make_plan(source, ScorerConfig(device="cpu"))["splits"] == 2
    assert make_plan(source, ScorerConfig(device="cpu"), block_pairs=25)["splits"] == 20
