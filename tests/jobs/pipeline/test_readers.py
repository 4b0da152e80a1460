"""Common readers open an output folder without options; they skip `_errors/`, `_scores/` and the manifest."""

from pathlib import Path
from types import SimpleNamespace

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
import ray

from jobs.formats.columns import Layout
from jobs.pipeline.output import SCORES, stage
from jobs.pipeline.publish import publish
from jobs.pipeline.writer import RankedSink
from rerank.paths import locate
from rerank.reranker import Reranker
from rerank.tables.published import STAGING
from tests.fakes import ListedEngine, candidate_sets

ROWS = [(query_id, "one", [("a", "x"), ("b", None), ("c", "z")]) for query_id in ("q1", "q2", "q3")]


@pytest.fixture(scope="module", params=[Layout.PAIRS, Layout.QUERIES])
def published(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pa.Table]:
    """An output folder with two parts, rejected candidates, scores and files of a killed attempt; and its rows."""
    folder = tmp_path_factory.mktemp("published") / "out"
    staging = stage(locate(str(folder)))
    reranker = Reranker(engine=ListedEngine([0.0, 1.0, 2.0, 3.0]))
    sink = RankedSink(staging, request.param)
    blocks = [reranker.rank_table(candidate_sets(rows)) for rows in (ROWS[:2], ROWS[2:])]
    parts = [sink.write([block], SimpleNamespace(task_idx=at)) for at, block in enumerate(blocks)]
    publish(staging, parts, {"pairs_ranked": 6}, overwrite=False)
    for name in (SCORES, STAGING):
        (folder / name / "model=x").mkdir(parents=True)
        pq.write_table(pa.table({"high": [1]}), folder / name / "model=x" / "part-0.parquet")
    expected = pa.concat_tables([pq.read_table(path) for path in sorted(folder.glob("part-*.parquet"))])
    assert expected.num_rows == (6 if request.param is Layout.PAIRS else 3)
    return folder, expected


def same(found: pa.Table, expected: pa.Table) -> bool:
    order = [("query_id", "ascending"), *([("rank", "ascending")] if "rank" in expected.column_names else [])]
    return found.sort_by(order).to_pylist() == expected.sort_by(order).to_pylist()


def test_pandas(published: tuple[Path, pa.Table]) -> None:
    folder, expected = published
    frame = pd.read_parquet(folder)
    assert list(frame.columns) == expected.column_names
    assert sorted(frame["query_id"]) == sorted(expected["query_id"].to_pylist())


def test_pyarrow(published: tuple[Path, pa.Table]) -> None:
    folder, expected = published
    assert same(ds.dataset(folder).to_table(), expected)
    assert same(pq.read_table(folder), expected)


def test_duckdb(published: tuple[Path, pa.Table]) -> None:
    folder, expected = published
    assert same(duckdb.sql(f"SELECT * FROM '{folder}/*.parquet'").to_arrow_table(), expected)


@pytest.mark.ray
@pytest.mark.usefixtures("shared_driver")
def test_ray(published: tuple[Path, pa.Table]) -> None:
    folder, expected = published
    rows = ray.data.read_parquet(str(folder)).take_all()
    assert same(pa.Table.from_pylist(rows, expected.schema), expected)
