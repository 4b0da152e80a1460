"""Files whose schemas evolved are one table: its columns are those of all files, in types that hold all values."""

import re
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
from jobs.formats.tables.schemas import conform, merged, plain_type
from jobs.input.source import open_source
from jobs.input.splits import plan_splits, read_split
from rerank.errors import InputError
from rerank.paths import locate
from rerank.ranking.candidates import CANDIDATES

FIRST = {"query_id": ["q1", "q1"], "query": ["one", "one"], "doc_id": ["a", "b"], "text": ["x", "y"]}
SECOND = {"query_id": ["q2"], "query": ["two"], "doc_id": ["c"], "text": ["z"]}

Write = Callable[[Path], None]


def table(values: dict[str, Any], **more: Any) -> pa.Table:
    return pa.table(values | more)


def nested(rows: dict[str, Any], kind: pa.DataType, *lists: list[dict[str, Any]] | None) -> pa.Table:
    """Return candidate sets whose lists have this type."""
    ids = {name: rows[name][: len(lists)] for name in ("query_id", "query")}
    return pa.table(ids | {"candidates": pa.array(lists, kind)})


def other_order(folder: Path) -> None:
    """Spark's union by position is no concern of files: columns are found by name."""
    pq.write_table(table(FIRST, n=[1, 2]), folder / "a.parquet")
    pq.write_table(table(SECOND, n=[3]).select(["n", "text", "doc_id", "query_id", "query"]), folder / "b.parquet")


def one_column_less(folder: Path) -> None:
    pq.write_table(table(FIRST, n=[1, 2]), folder / "a.parquet")
    pq.write_table(table(SECOND), folder / "b.parquet")


def one_column_more(folder: Path) -> None:
    pq.write_table(table(FIRST), folder / "a.parquet")
    pq.write_table(table(SECOND, n=[3]), folder / "b.parquet")


def null_type_of_pandas(folder: Path) -> None:
    """pandas writes a column in which all is None with the type null, and its own metadata."""
    pd.DataFrame(FIRST | {"n": [None, None]}).to_parquet(folder / "a.parquet")
    pd.DataFrame(SECOND | {"n": [3]}).to_parquet(folder / "b.parquet")


def index_of_pandas(folder: Path) -> None:
    """pandas writes an index that is no range as a column."""
    pd.DataFrame(FIRST | {"n": [1, 2]}, index=[5, 3]).to_parquet(folder / "a.parquet")
    pd.DataFrame(SECOND | {"n": [3]}).to_parquet(folder / "b.parquet")


def int32_and_int64(folder: Path) -> None:
    pq.write_table(table(FIRST, n=pa.array([1, 2], pa.int32())), folder / "a.parquet")
    pq.write_table(table(SECOND, n=pa.array([2**40], pa.int64())), folder / "b.parquet")


def numbers_by_duckdb(folder: Path) -> None:
    frames = {"a": table(FIRST, n=[1, 2]), "b": table(SECOND, n=[3])}
    for name, kind in (("a", "tinyint"), ("b", "double")):
        frame = frames[name]  # noqa: F841 (DuckDB finds it by its name)
        duckdb.sql(f"copy (select * replace (n::{kind} as n) from frame) to '{folder}/{name}.parquet'")


def large_strings_of_polars(folder: Path) -> None:
    """Polars writes large strings, and pandas categories as dictionaries."""
    pl.DataFrame(FIRST | {"n": ["1", "2"]}).write_parquet(folder / "a.parquet")
    pd.DataFrame(SECOND | {"n": pd.Categorical(["3"])}).to_parquet(folder / "b.parquet")


def categories_of_polars(folder: Path) -> None:
    pl.DataFrame(FIRST | {"n": ["1", None]}, schema_overrides={"n": pl.Categorical}).write_parquet(folder / "a.parquet")
    pq.write_table(table(SECOND, n=pa.array(["3"], pa.string_view())), folder / "b.parquet")


def required_and_optional(folder: Path) -> None:
    """DuckDB and Hive call columns required or optional as they like."""
    fields = [pa.field(name, pa.string(), nullable=False) for name in FIRST]
    pq.write_table(pa.Table.from_pydict(FIRST, schema=pa.schema(fields)), folder / "a.parquet")
    pq.write_table(table(SECOND), folder / "b.parquet")


EXPECTED_N: dict[Write, list[Any] | None] = {
    other_order: [1, 2, 3],
    one_column_less: [1, 2, None],
    one_column_more: [None, None, 3],
    null_type_of_pandas: [None, None, 3],
    index_of_pandas: [1, 2, 3],
    int32_and_int64: [1, 2, 2**40],
    numbers_by_duckdb: [1.0, 2.0, 3.0],
    large_strings_of_polars: ["1", "2", "3"],
    categories_of_polars: ["1", None, "3"],
    required_and_optional: None,
}


@pytest.mark.parametrize("write", EXPECTED_N, ids=lambda write: write.__name__)
def test_pairs_of_both_files_are_read(tmp_path: Path, write: Write) -> None:
    write(tmp_path)
    source = open_source(str(tmp_path))
    rows = [row for part in source.read(*source.row_groups) for row in part.to_pylist()]
    for name in FIRST:
        assert [row[name] for row in rows] == FIRST[name] + SECOND[name]
    if (expected := EXPECTED_N[write]) is not None:
        assert [row["n"] for row in rows] == expected
    sets = [
        row for split in plan_splits(source, target_pairs=9) for t in read_split(source, split) for row in t.to_pylist()
    ]
    assert [[candidate["doc_id"] for candidate in row["candidates"]] for row in sets] == [["a", "b"], ["c"]]
    assert read_pairs(locate(str(tmp_path)), ["text"])["text"].to_pylist() == ["x", "y", "z"]


CANDIDATE = pa.struct([("doc_id", pa.string()), ("text", pa.string())])
HIT = {"doc_id": "a", "text": "x"}


@pytest.mark.parametrize(
    ("kind", "candidates", "expected"),
    [
        (pa.list_(CANDIDATE), [HIT], [HIT]),
        (pa.list_(pa.struct([("text", pa.string()), ("doc_id", pa.string())])), [HIT], [HIT]),
        (pa.list_(pa.struct([*CANDIDATE, ("n", pa.int32())])), [{**HIT, "n": 1}], [{**HIT, "n": 1}]),
        (pa.list_(pa.struct([("n", pa.int32()), *CANDIDATE])), [{"n": 1, **HIT}, {"n": None, **HIT}], None),
        (pa.large_list(CANDIDATE), [HIT, HIT], [HIT, HIT]),
        (pa.list_(pa.struct([("doc_id", pa.large_string()), ("text", pa.string_view())])), [HIT], [HIT]),
        (pa.list_(pa.struct([("doc_id", pa.string()), ("text", pa.dictionary(pa.int8(), pa.string()))])), [HIT], [HIT]),
        (pa.list_(pa.struct([*CANDIDATE, ("tags", pa.list_(pa.null()))])), [{**HIT, "tags": []}], None),
        (pa.null(), None, None),
        (pa.list_(pa.null()), [], []),
        (pa.list_(CANDIDATE), None, None),
    ],
    ids=str,
)
@pytest.mark.parametrize("evolved_first", [False, True])
def test_candidates_of_both_files_are_read(
    tmp_path: Path, kind: pa.DataType, candidates: Any, expected: Any, *, evolved_first: bool
) -> None:
    full = pa.list_(pa.struct([*CANDIDATE, ("n", pa.int64()), ("tags", pa.list_(pa.string()))]))
    hit = {"doc_id": "b", "text": "y", "n": 2**40, "tags": ["t"]}
    names = ["b", "a"] if evolved_first else ["a", "b"]
    pq.write_table(nested(FIRST, full, [hit], None), tmp_path / f"{names[0]}.parquet")
    pq.write_table(nested(SECOND, kind, candidates), tmp_path / f"{names[1]}.parquet")
    source = open_source(str(tmp_path))
    rows = [row for part in source.read(*source.row_groups) for row in part.to_pylist()]
    by_id: dict[str, list[Any]] = {}
    for row in rows:
        by_id.setdefault(row["query_id"], []).append(row[CANDIDATES])
    assert by_id["q1"] == [[hit], None]
    blank = {"doc_id": None, "text": None, "n": None, "tags": None}
    expected = candidates if expected is None else expected
    assert by_id["q2"] == [None if expected is None else [blank | each for each in expected]]
    assert source.pairs == 2 + max(1, len(candidates or []))
    doc_ids = [value for part in source.read_doc_ids(*source.row_groups) for value in part.to_pylist()]
    assert sorted(doc_ids) == sorted(["b", *(each["doc_id"] for each in candidates or [])])
    pairs = read_pairs(locate(str(tmp_path)), ["text"]).to_pylist()
    assert len(pairs) == 1 + len(candidates or [])


@pytest.mark.parametrize(
    ("first", "second", "types"),
    [
        (pa.array([1, 2]), pa.array(["x"]), ("int64", "string")),
        (pa.array([True, False]), pa.array([1]), ("bool", "int64")),
        (pa.array([{"a": 1}, None]), pa.array([{"a": "x"}]), ("struct<a: int64>", "struct<a: string>")),
        (pa.array(["x", "y"]).dictionary_encode(), pa.array([1.5]), ("string", "double")),
        (pa.nulls(2), pa.array([1]), None),
    ],
    ids=str,
)
def test_types_that_do_not_fit_together_are_named_with_their_files(
    tmp_path: Path, first: pa.Array, second: pa.Array, types: tuple[str, str] | None
) -> None:
    pq.write_table(table(FIRST, n=first), tmp_path / "a.parquet")
    pq.write_table(table(SECOND, n=second), tmp_path / "b.parquet")
    if types is None:
        pq.write_table(table(SECOND, n=["x"]), tmp_path / "c.parquet")
    message = (
        f"column 'n' is {types[0]} in a.parquet and {types[1]} in b.parquet"
        if types
        else "column 'n' is int64 in b.parquet and string in c.parquet"
    )
    with pytest.raises(InputError, match=re.escape(message)):
        open_source(str(tmp_path))


def test_files_of_one_name_are_named_with_their_folders(tmp_path: Path) -> None:
    for name, column in (("x", pa.array([1, 2])), ("y", pa.array(["1", "2"]))):
        (tmp_path / name).mkdir()
        pq.write_table(table(FIRST, n=column), tmp_path / name / "0.parquet")
    with pytest.raises(InputError, match=rf"is int64 in {tmp_path}/x/0.parquet and string in {tmp_path}/y/0.parquet"):
        open_source(str(tmp_path))


@pytest.mark.parametrize(
    ("kind", "other"),
    [
        (pa.int8(), pa.int32()),
        (pa.int64(), pa.float32()),
        (pa.string(), pa.large_string()),
        (pa.date32(), pa.null()),
        (pa.timestamp("s"), pa.timestamp("ms")),
        (pa.struct([("a", pa.int8())]), pa.struct([("b", pa.string()), ("a", pa.int64())])),
        (pa.list_(pa.int8()), pa.large_list(pa.int16())),
    ],
    ids=str,
)
def test_the_types_are_those_of_pyarrows_permissive_promotion(kind: pa.DataType, other: pa.DataType) -> None:
    schemas = [pa.schema([("x", kind)]), pa.schema([("x", other)])]
    unified = pa.unify_schemas(schemas, promote_options="permissive").field("x").type
    assert merged(plain_type(kind), plain_type(other)) == plain_type(unified)


def test_slices_of_lists_with_nulls_conform() -> None:
    kind = pa.large_list(pa.struct([("b", pa.int64()), ("a", pa.large_string())]))
    lists: list[Any] = [[{"a": "x"}], None, [], [None, {"a": "y"}], [{"a": None}]]
    values = pa.array(lists, pa.list_(pa.struct([("a", pa.string())])))
    for start in range(5):
        found = conform(values.slice(start, 3), kind)
        found.validate(full=True)
        expected = [each and [entry and {"b": None, **entry} for entry in each] for each in lists[start : start + 3]]
        assert found.to_pylist() == expected
