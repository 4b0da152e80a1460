"""Ids and texts in bytes are strings, UUIDs are their canonical texts, and bytes that are no UTF-8 are rejected."""

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.formats.pair_rows import read_pairs
from jobs.input.candidates import open_input
from jobs.input.nest import candidate_sets, shuffled_schemas
from jobs.input.source import Source, open_source
from jobs.input.splits import plan_splits, read_split
from jobs.pipeline.trec_run import check_trec_ids
from jobs.pipeline.writer import rejected_slices
from rerank.errors import InputError
from rerank.paths import locate
from rerank.prepare import prepare
from rerank.reranker import Reranker
from tests.fakes import ListedEngine
from tests.jobs.input.test_join import group_without_ray

IDS = [uuid.UUID(int=number << 64 | 0xABCDEF) for number in (1, 2, 3)]
NAMES = ("query_id", "query", "doc_id", "text")
ROWS = {"query_id": ["q", "q"], "query": ["ä", "ä"], "doc_id": ["a", "b"], "text": ["x", "ÿ"]}
BYTES = {name: [value.encode() for value in values] for name, values in ROWS.items()}
BROKEN = b"\xff\xfe"


def by_impala(path: Path) -> None:
    """Impala, Hive and old Spark write strings as bytes without saying that they are text."""
    pq.write_table(pa.table(BYTES), path, store_schema=False)


def by_pandas(path: Path) -> None:
    pd.DataFrame(BYTES).to_parquet(path)


def by_polars(path: Path) -> None:
    pl.DataFrame(BYTES).write_parquet(path)


def by_duckdb(path: Path) -> None:
    frame = pa.table(ROWS)  # noqa: F841 (DuckDB finds it by its name)
    columns = ", ".join(f"encode({name}) as {name}" for name in NAMES)
    duckdb.sql(f"copy (select {columns} from frame) to '{path}' (format parquet)")


def in_dictionaries(path: Path) -> None:
    table = pa.table({name: pa.array(values, pa.binary()).dictionary_encode() for name, values in BYTES.items()})
    pq.write_table(table, path)


def in_views(path: Path) -> None:
    pq.write_table(pa.table({name: pa.array(values, pa.binary_view()) for name, values in BYTES.items()}), path)


def read_sets(folder: Path, **options: Any) -> pa.Table:
    opened = open_input(str(folder), **options)
    assert isinstance(opened.source, Source)
    splits = plan_splits(opened.source, target_pairs=100, repeated=opened.repeated)
    return pa.concat_tables([table for split in splits for table in read_split(opened.source, split)])


@pytest.mark.parametrize("write", [by_impala, by_pandas, by_polars, by_duckdb, in_dictionaries, in_views])
def test_bytes_that_are_text_are_read_as_text(tmp_path: Path, write: Callable[[Path], None]) -> None:
    write(tmp_path / "in.parquet")
    source = open_source(str(tmp_path))
    (table,) = source.read(*source.row_groups)
    assert table.schema.types == [pa.large_string()] * 4
    assert table.to_pydict() == ROWS
    assert read_pairs(locate(str(tmp_path)), NAMES).select(NAMES).to_pydict() == ROWS


def test_bytes_inside_candidates_are_read_as_text(tmp_path: Path) -> None:
    kind = pa.list_(pa.struct([("_id", pa.binary()), ("body", pa.large_binary()), ("raw", pa.binary())]))
    hits = [{"_id": b"a", "body": "ä".encode(), "raw": BROKEN}]
    table = pa.table({"query_id": [b"q"], "query": [b"x"], "candidates": pa.array([hits], kind)})
    pq.write_table(table, tmp_path / "in.parquet")
    renames = {"doc_id": "_id", "text": "body"}
    (row,) = read_sets(tmp_path, renames=renames).to_pylist()
    assert (row["query_id"], row["query"]) == ("q", "x")
    assert row["candidates"] == [{"doc_id": "a", "text": "ä", "raw": BROKEN}]  # other bytes stay bytes


def test_strings_in_one_file_and_bytes_in_another_are_text(tmp_path: Path) -> None:
    pq.write_table(pa.table(ROWS), tmp_path / "a.parquet")
    by_impala(tmp_path / "b.parquet")
    source = open_source(str(tmp_path))
    rows = [row for part in source.read(*source.row_groups) for row in part.to_pylist()]
    assert rows == 2 * pa.table(ROWS).to_pylist()


def uuids_of_arrow(path: Path, ids: list[uuid.UUID | None]) -> None:
    values = pa.array([None if value is None else value.bytes for value in ids], pa.uuid())
    pq.write_table(pa.table({"query_id": values, "query": ["x"] * 3, "doc_id": values, "text": ["t"] * 3}), path)


def uuids_of_duckdb(path: Path, ids: list[uuid.UUID | None]) -> None:
    """DuckDB writes Parquet's UUIDs, without Arrow's schema beside them."""
    frame = pa.table({"i": [None if value is None else str(value) for value in ids]})  # noqa: F841
    columns = "i::uuid as query_id, 'x' as query, i::uuid as doc_id, 't' as text"
    duckdb.sql(f"copy (select {columns} from frame) to '{path}' (format parquet)")


def uuids_inside_candidates(path: Path, ids: list[uuid.UUID | None]) -> None:
    values = pa.array([None if value is None else value.bytes for value in ids], pa.uuid())
    entries = pa.StructArray.from_arrays([values, pa.array(["t"] * 3)], names=["doc_id", "text"])
    lists = pa.ListArray.from_arrays(pa.array([0, 1, 2, 3], pa.int32()), entries)
    pq.write_table(pa.table({"query_id": values, "query": ["x"] * 3, "candidates": lists}), path)


@pytest.mark.parametrize("write", [uuids_of_arrow, uuids_of_duckdb, uuids_inside_candidates])
def test_ids_that_are_uuids_become_their_canonical_texts(
    tmp_path: Path, write: Callable[[Path, list[uuid.UUID | None]], None]
) -> None:
    write(tmp_path / "in.parquet", [IDS[2], None, IDS[0]])
    texts = [str(IDS[2]), None, str(IDS[0])]
    assert texts[0] == "00000000-0000-0003-0000-000000abcdef"
    sets = read_sets(tmp_path).to_pylist()
    assert [row["query_id"] for row in sets] == texts
    assert [row["candidates"][0]["doc_id"] for row in sets] == texts
    assert read_pairs(locate(str(tmp_path)), [], only=[texts[0] or ""])["doc_id"].to_pylist() == texts[:1]
    check_trec_ids(open_input(str(tmp_path)))


def test_uuids_are_joined_with_texts_of_uuids(tmp_path: Path) -> None:
    key = pa.array([IDS[0].bytes, IDS[1].bytes], pa.uuid())
    pq.write_table(pa.table({"query_id": key, "doc_id": key, "score": [1.0, 2.0]}), tmp_path / "run.parquet")
    pq.write_table(pa.table({"doc_id": list(map(str, IDS)), "text": ["t"] * 3}), tmp_path / "corpus.parquet")
    pq.write_table(pa.table({"query_id": list(map(str, IDS)), "query": ["x"] * 3}), tmp_path / "queries.parquet")
    names = {name: str(tmp_path / f"{name}.parquet") for name in ("corpus", "queries")}
    opened = open_input(str(tmp_path / "run.parquet"), **names)
    assert not isinstance(opened.source, Source)
    rows = group_without_ray(opened.source)
    assert {(row["query"], row["candidates"][0]["text"], row["candidates"][0]["_refused"]) for row in rows} == {
        ("x", "t", 0)
    }


def test_a_carried_column_of_uuids_stays_one(tmp_path: Path) -> None:
    pq.write_table(pa.table(ROWS | {"trace": pa.array([IDS[0].bytes, None], pa.uuid())}), tmp_path / "in.parquet")
    (row,) = read_sets(tmp_path).to_pylist()
    assert [candidate["trace"] for candidate in row["candidates"]] == [IDS[0], None]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("query_id", "query_id is not valid UTF-8"),
        ("query", "query is not valid UTF-8"),
        ("doc_id", "doc_id is not valid UTF-8"),
        ("text", "text is not valid UTF-8"),
    ],
)
@pytest.mark.parametrize("regroup", [False, True])
def test_bytes_that_are_not_text_are_rejected_row_by_row(
    tmp_path: Path, name: str, reason: str, *, regroup: bool
) -> None:
    rows = [
        {"query_id": b"q1", "query": b"x", "doc_id": b"a", "text": b"t"},
        {"query_id": b"q2", "query": b"x", "doc_id": b"b", "text": b"t", name: BROKEN},
        {"query_id": b"q3", "query": b"x", "doc_id": b"c", "text": b"t"},
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "in.parquet")
    if regroup:
        opened = open_input(str(tmp_path), regroup=True)
        assert not isinstance(opened.source, Source)
        join = opened.source
        schemas = shuffled_schemas(join)
        parts = pa.concat_tables(join.read_rows(0))
        table = pa.concat_tables(candidate_sets(parts, schema=schemas[-1], owner=join.owner))
    else:
        table = read_sets(tmp_path)
    reranker = Reranker(engine=ListedEngine([1.0, 2.0]))
    block = reranker.rank_table(prepare(table, reranker.encoder))
    (errors,) = rejected_slices(block, 1 << 20)
    pq.write_table(errors, tmp_path / "errors.parquet")
    (error,) = pd.read_parquet(tmp_path / "errors.parquet").to_dict("records")
    expected = {"query_id": "q2", "doc_id": "b", "source_rank": 1, "reason": reason}
    expected |= {name: r"\xff\xfe"} if name.endswith("id") else {}
    assert error == expected


def test_evaluation_says_which_table_is_not_text(tmp_path: Path) -> None:
    pq.write_table(pa.table({"query_id": [b"q"], "doc_id": [BROKEN], "text": [b"t"]}), tmp_path / "in.parquet")
    with pytest.raises(InputError, match=r"cannot be read: .*UTF8"):
        read_pairs(locate(str(tmp_path)), [])


def test_repeated_ids_that_are_not_text_are_named_readably(tmp_path: Path) -> None:
    rows = [{"query_id": key, "query": b"x", "doc_id": b"a", "text": b"t"} for key in (BROKEN, b"q", BROKEN)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "in.parquet")
    with pytest.raises(InputError, match=r"those of query_id '\\\\xff\\\\xfe' are not next to"):
        open_input(str(tmp_path))
