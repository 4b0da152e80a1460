"""Keys of Hive partitions are what PyArrow reads them as, and folders that other tools write are read alike."""

from collections.abc import Callable
from pathlib import Path

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from jobs.formats.tables.files import open_files, read_rows
from jobs.formats.tables.hive import NULL, folder_of, keys_of, type_of_values
from rerank.errors import InputError
from rerank.paths import locate

SEGMENTS = [
    ["1", "2"],
    ["01", "-5"],
    ["007", "0x10"],
    ["1", "x"],
    ["2147483648", "1"],
    ["+5"],
    ["1.5"],
    ["true"],
    ["2026-01-01", "2026-01-02"],
    ["1", NULL],
    ["a", NULL],
    ["a%20b", "c%2Fd", "100%25"],
    ["%31", "2"],
    [" 1"],
    ["de=AT"],
    ["ä", "%C3%A4"],
]


def read(folder: Path) -> pa.Table:
    location = locate(str(folder))
    files = open_files(location)
    fields = list(files.schema)
    parts = [
        table
        for file in files.files
        for table in read_rows(location.filesystem, file.path, [0], fields, keys=file.keys, most_bytes=1 << 20)
    ]
    return pa.concat_tables(parts)


@pytest.mark.parametrize("segments", SEGMENTS, ids=",".join)
def test_keys_have_the_values_and_the_type_that_pyarrow_gives_them(tmp_path: Path, segments: list[str]) -> None:
    for number, segment in enumerate(segments):
        (tmp_path / f"k={segment}").mkdir()
        pq.write_table(pa.table({"row": [number]}), tmp_path / f"k={segment}" / "part-0.parquet")
    expected = ds.dataset(tmp_path, partitioning="hive").to_table()
    table = read(tmp_path)
    assert table.schema == expected.schema
    assert table.sort_by("row").to_pylist() == expected.sort_by("row").to_pylist()


def test_a_key_that_is_null_everywhere_is_a_string(tmp_path: Path) -> None:
    assert type_of_values([None, None]) == pa.string()
    (tmp_path / f"k={NULL}").mkdir()
    pq.write_table(pa.table({"row": [1]}), tmp_path / f"k={NULL}" / "part-0.parquet")
    assert read(tmp_path).to_pylist() == [{"row": 1, "k": None}]


@pytest.mark.parametrize(
    "keys",
    [
        (("date", "2026-01-01"),),
        (("date", None), ("lang", "a b/c%=ä")),
        (("a b", ""),),
        (("k", "."),),
    ],
)
def test_a_folder_name_and_its_keys_are_inverse(keys: tuple[tuple[str, str | None], ...]) -> None:
    assert keys_of("/root", f"/root/{folder_of(keys)}/part-0.parquet") == keys
    assert keys_of("/root", "/root/plain/part-0.parquet") == keys_of("/a=1/x", "/a=1/x") == ()


FRAME = {"row": [1, 2, 3], "date": ["2026-01-01", "2026-01-02", None], "lang": ["de", "e n", "de"]}


def by_pandas(folder: Path) -> None:
    pd.DataFrame(FRAME).to_parquet(folder, partition_cols=["date", "lang"], index=False)


def by_polars(folder: Path) -> None:
    pl.DataFrame(FRAME).write_parquet(folder, partition_by=["date", "lang"])


def by_duckdb(folder: Path) -> None:
    frame = pa.table(FRAME)  # noqa: F841 (DuckDB finds it by its name)
    duckdb.sql(f"copy frame to '{folder}' (format parquet, partition_by (date, lang))")


def by_duckdb_with_columns(folder: Path) -> None:
    frame = pa.table(FRAME)  # noqa: F841
    duckdb.sql(f"copy frame to '{folder}' (format parquet, partition_by (date, lang), write_partition_columns true)")


def by_spark(folder: Path) -> None:
    """Write what Spark writes: hidden check sums, `_SUCCESS`, its names of parts and its escapes."""
    for row, date, lang in zip(*FRAME.values(), strict=True):
        place = folder / f"date={date or NULL}" / f"lang={str(lang).replace(' ', '%20')}"
        place.mkdir(parents=True)
        name = f"part-0000{row}-7e1c1d0c-c000.snappy.parquet"
        pq.write_table(pa.table({"row": pa.array([row], pa.int64())}), place / name)
        (place / f".{name}.crc").write_bytes(b"crc")
    (folder / "_SUCCESS").touch()


@pytest.mark.parametrize("write", [by_pandas, by_polars, by_duckdb, by_duckdb_with_columns, by_spark])
def test_partitions_of_other_tools_are_columns(tmp_path: Path, write: Callable[[Path], None]) -> None:
    write(tmp_path / "in")
    rows = sorted(read(tmp_path / "in").select(["row", "date", "lang"]).to_pylist(), key=lambda row: row["row"])
    assert rows == pa.table(FRAME).to_pylist()


@pytest.mark.parametrize(
    ("segment", "column"),
    [
        ("1", pa.array([1, 1], pa.int64())),
        ("2026-01-01", pa.array(["2026-01-01"] * 2).cast(pa.date32())),
        ("a", pa.array(["a", "a"]).dictionary_encode()),
        (NULL, pa.array([None, None], pa.string())),
    ],
)
def test_a_column_of_the_file_that_agrees_with_the_key_wins(tmp_path: Path, segment: str, column: pa.Array) -> None:
    for name, table in (("a", pa.table({"row": [1, 2], "k": column})), ("b", pa.table({"row": [3]}))):
        (tmp_path / f"k={segment}").mkdir(exist_ok=True)
        pq.write_table(table, tmp_path / f"k={segment}" / f"{name}.parquet")
    assert read(tmp_path).column("k").to_pylist() == [column[0].as_py()] * 3


@pytest.mark.parametrize(
    ("column", "found"),
    [(pa.array([1, 2]), "the column 'k' of the file has 2"), (pa.array([{"a": 1}]), "is struct<a: int64>")],
)
def test_a_column_of_the_file_that_differs_from_the_key_is_refused(
    tmp_path: Path, column: pa.Array, found: str
) -> None:
    (tmp_path / "k=1").mkdir()
    pq.write_table(pa.table({"k": column}), tmp_path / "k=1" / "a.parquet")
    with pytest.raises(InputError, match="the folder says k=1, but the column 'k' of the file") as caught:
        read(tmp_path)
    assert found in str(caught.value)
