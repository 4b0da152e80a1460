"""A shuffle brings equal keys together, whatever Ray hashes them with, and tables of skewed data stay small."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ray.data._internal.arrow_ops.transform_pyarrow import hash_partition

from jobs.input import nest, shuffle
from jobs.input.join import KEY, KEY_HASH, PLACE, RunJoin, open_run, open_unclustered
from jobs.input.nest import candidate_sets, shuffled_schemas, with_documents
from jobs.input.shuffle import group_by_query
from rerank.paths import locate
from rerank.ranking.output_columns import REJECTED, USAGE
from rerank.reranker import Reranker
from tests.fakes import HashEngine
from tests.jobs.input.test_join import group_without_ray

PARTITIONS = 4


class Series(np.ndarray):
    """What Ray calls of a Series of polars."""

    def cast(self, _: type) -> "Series":
        return self

    def to_numpy(self) -> np.ndarray:
        return np.asarray(self)


def polars() -> ModuleType:
    """A stand-in for polars: it hashes rows by their values, as polars does, but not to the same numbers."""

    def from_arrow(table: pa.Table, *, rechunk: bool) -> SimpleNamespace:
        hashes = np.array([hash((row, rechunk)) % 2**31 for row in zip(*table.to_pydict().values(), strict=True)])
        return SimpleNamespace(hash_rows=lambda seed: hashes.view(Series))

    module, errors = ModuleType("polars"), ModuleType("polars.exceptions")
    errors.PolarsError = type("PolarsError", (Exception,), {})  # type: ignore[attr-defined]
    module.__dict__.update(from_arrow=from_arrow, Int64=np.int64, exceptions=errors)
    return module


@pytest.fixture(params=["pandas", "polars"])
def hashed_by(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Make Ray hash by pandas, as it does where polars is not installed, or by polars."""
    module = polars() if request.param == "polars" else None
    monkeypatch.setitem(sys.modules, "polars", module)
    monkeypatch.setitem(sys.modules, "polars.exceptions", module and module.exceptions)
    return str(request.param)


def write_ids(folder: Path, id_of: Callable[[int], Any], *, without: int | None, rows: int = 1_000) -> RunJoin:
    """Write a run of 10 candidates per query in small row groups, with its texts; row `without` has no ids at all."""
    run = [{"query_id": id_of(at // 10), "doc_id": id_of(at), "score": 1.0} for at in range(rows)]
    if without is not None:
        run[without] |= {"query_id": None, "doc_id": None}
        run[without + 1] |= {"doc_id": None}
    corpus = [{"doc_id": id_of(at), "text": f"text {at}"} for at in range(rows)] + [{"doc_id": None, "text": "none"}]
    queries = [{"query_id": id_of(at), "query": f"query {at}"} for at in range(rows // 10)]
    for name, table in (("run", run), ("corpus", corpus), ("queries", queries)):
        pq.write_table(pa.Table.from_pylist(table), folder / f"{name}.parquet", row_group_size=rows // 4)
    paths = {name: str(folder / f"{name}.parquet") for name in ("corpus", "queries")}
    return open_run(str(folder / "run.parquet"), **paths, renames={}, limit=None)


@pytest.mark.parametrize("id_of", [int, str])
@pytest.mark.usefixtures("hashed_by")
def test_equal_keys_come_together_beside_a_null(tmp_path: Path, id_of: Callable[[int], Any]) -> None:
    join = write_ids(tmp_path, id_of, without=3)
    tables = [table for at in range(4) for table in (*join.read_rows(at), *join.read_documents(at))]
    partition_of: dict[Any, set[int]] = {}
    for table in tables:
        parts = hash_partition(table, hash_cols=[KEY_HASH], num_partitions=PARTITIONS)
        for number, part in parts.items():
            for key in part[KEY].to_pylist():
                partition_of.setdefault(key, set()).add(number)
    del partition_of[None]
    assert len(partition_of) == 1_000
    assert all(len(partitions) == 1 for partitions in partition_of.values())
    assert {number for partitions in partition_of.values() for number in partitions} == set(range(PARTITIONS))


def test_rows_without_a_document_id_are_spread_and_those_without_a_query_id_are_not(tmp_path: Path) -> None:
    run = {"query_id": pa.array([None, 1, None, 2]), "doc_id": pa.nulls(4, pa.int64()), "score": [1, 2, 3, 4]}
    join = write_ids(tmp_path, int, without=None, rows=20)
    pq.write_table(pa.table(run), tmp_path / "run.parquet")
    paths = {name: str(tmp_path / f"{name}.parquet") for name in ("corpus", "queries")}
    join = open_run(str(tmp_path / "run.parquet"), **paths, renames={}, limit=None)
    (rows,) = join.read_rows(0)
    assert rows[KEY_HASH].to_pylist() == rows[PLACE].to_pylist() == [0, 1, 2, 3]
    (by_query,) = with_documents(rows, schema=shuffled_schemas(join)[0])
    hashes = by_query[KEY_HASH].to_pylist()
    assert hashes == [0, 1, 0, 2]
    assert sum(table.num_rows for at in range(4) for table in join.read_documents(at)) == 20


@pytest.mark.parametrize("id_of", [int, str])
def test_ranked_and_rejected_rows_are_those_that_were_read(tmp_path: Path, id_of: Callable[[int], Any]) -> None:
    join = write_ids(tmp_path, id_of, without=3, rows=40)
    sets = pa.Table.from_pylist(group_without_ray(join))
    ranked = Reranker(engine=HashEngine()).rank_table(sets)
    rejections = [entry for row in ranked[REJECTED].to_pylist() for entry in row]
    scored = sum(usage["pairs_ranked"] for usage in ranked[USAGE].to_pylist())
    reasons = [entry["reason"] for entry in rejections if entry["reason"] != "logit is not finite"]
    assert reasons == ["query_id is null", "doc_id is null"] or reasons == ["doc_id is null", "query_id is null"]
    assert (len(sets), scored + len(rejections)) == (len(join.query_ids), join.pairs) == (5, 40)


@pytest.mark.ray
@pytest.mark.usefixtures("shared_driver")
def test_a_null_beside_integer_ids_loses_no_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shuffle, "_BYTES_PER_PARTITION", 20_000)
    join = write_ids(tmp_path, int, without=3)
    source = group_by_query(join, locate(str(tmp_path / "out")))
    rows = [row for group in source.row_groups for table in source.read(group) for row in table.to_pylist()]
    candidates = [candidate for row in rows if row["query_id"] is not None for candidate in row["candidates"]]
    assert len({group.path for group in source.row_groups}) > 2
    assert len(rows) == len(join.query_ids) == 101
    assert all(
        candidate["text"] == f"text {candidate['doc_id']}"
        for candidate in candidates
        if candidate["doc_id"] is not None
    )
    assert [candidate["_refused"] for candidate in candidates] == [0] * 999


def test_a_document_in_many_pairs_is_joined_in_tables_of_bounded_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nest, "_BYTES_PER_TABLE", 1 << 20)
    text, count = "word " * 5_000, 400
    run = pa.table({"query_id": np.arange(count) // 4, "doc_id": [7] * count, "score": [1.0] * count})
    pq.write_table(run, tmp_path / "run")
    pq.write_table(pa.table({"doc_id": [7], "text": [text]}), tmp_path / "corpus")
    pq.write_table(pa.table({"query_id": np.arange(count), "query": ["q"] * count}), tmp_path / "queries")
    join = open_run(
        str(tmp_path / "run"),
        corpus=str(tmp_path / "corpus"),
        queries=str(tmp_path / "queries"),
        renames={},
        limit=None,
    )
    schemas = shuffled_schemas(join)
    tables = pa.concat_tables([*join.read_rows(0), *join.read_documents(0)], promote_options="default")
    joined = list(with_documents(tables, schema=schemas[0]))
    assert sum(part.num_rows for part in joined) == count
    assert max(part.nbytes for part in joined) <= 1 << 20
    assert max(part.get_total_buffer_size() for part in joined) < 2 << 20
    tables = pa.concat_tables([*joined, *join.read_queries(0)], promote_options="default")
    sets = list(candidate_sets(tables, schema=schemas[1], owner=join.owner))
    assert [row["query_id"] for part in sets for row in part.to_pylist()] == list(range(100))
    assert all(
        candidate["text"] == text for part in sets for row in part.to_pylist() for candidate in row["candidates"]
    )
    assert max(part.nbytes for part in sets) <= 1 << 20


def test_partitions_are_counted_by_the_bytes_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shuffle, "_BYTES_PER_PARTITION", 1 << 20)
    texts = [f"text {number} " * 300 for number in range(5)]
    rows = [{"query_id": at, "query": "q", "doc_id": at, "text": texts[at % 5]} for at in range(4_000)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "in.parquet")
    join = open_unclustered(str(tmp_path / "in.parquet"), renames={}, limit=None)
    assert sum(group.bytes for group in join.rows.row_groups) < 1 << 20
    assert 9 <= shuffle._partitions(join) <= 12
    monkeypatch.setattr(shuffle, "_PAIRS_PER_PARTITION", 100)
    assert shuffle._partitions(join) == 40
