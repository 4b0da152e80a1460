"""Keys of Hive partitions travel like other columns, and a query ends where its partition ends."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.input.candidates import Input, columns_of, open_input
from jobs.input.sample import sample
from jobs.input.source import Source
from jobs.input.splits import plan_splits, read_split
from rerank.errors import InputError
from tests.fakes import candidate_sets
from tests.jobs.input.test_join import group_without_ray
from tests.jobs.tables import QueryRows, pairs_table

# q2 ends the first day and begins the second one.
DAYS: dict[str, list[QueryRows]] = {
    "2026-01-01": [("q1", "one", [("a", "x"), ("b", "y")]), ("q2", "two", [("a", "x"), ("b", "y"), ("c", "z")])],
    "2026-01-02": [("q2", "two again", [("d", "u"), ("a", "x")]), ("q3", "three", [("a", "x")])],
}


def write_days(folder: Path, *, nested: bool = False, row_group_size: int = 2) -> Path:
    for day, rows in DAYS.items():
        (folder / f"day={day}").mkdir(parents=True)
        table = candidate_sets(rows) if nested else pairs_table(rows)
        pq.write_table(table, folder / f"day={day}" / "part-0.parquet", row_group_size=row_group_size)
    return folder


def read_sets(opened: Input, target_pairs: int = 1) -> list[dict[str, Any]]:
    assert isinstance(opened.source, Source)
    splits = plan_splits(opened.source, target_pairs=target_pairs, repeated=opened.repeated)
    return [row for split in splits for table in read_split(opened.source, split) for row in table.to_pylist()]


def of_days(rows: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return sorted(
        (row["day"], row["query_id"], row["query"], [candidate["doc_id"] for candidate in row["candidates"]])
        for row in rows
    )


EXPECTED = sorted(
    (day, query_id, query, [doc_id for doc_id, _ in candidates])
    for day, rows in DAYS.items()
    for query_id, query, candidates in rows
)


@pytest.mark.parametrize("row_group_size", [1, 2, 3, 100])
@pytest.mark.parametrize("target_pairs", [1, 3, 100])
def test_a_query_of_pairs_ends_with_its_partition(tmp_path: Path, row_group_size: int, target_pairs: int) -> None:
    opened = open_input(str(write_days(tmp_path, row_group_size=row_group_size)))
    assert (opened.queries, opened.pairs, len(opened.repeated), opened.shared) == (4, 8, 0, 1)
    rows = read_sets(opened, target_pairs)
    assert of_days(rows) == EXPECTED
    assert {candidate["_refused"] for row in rows for candidate in row["candidates"]} == {0}
    assert set(rows[0]["candidates"][0]) == {"doc_id", "text", "bm25", "_refused"}


def test_the_same_id_in_two_partitions_is_no_duplicate_in_the_queries_layout(tmp_path: Path) -> None:
    opened = open_input(str(write_days(tmp_path, nested=True)))
    assert (opened.queries, opened.pairs, len(opened.repeated), opened.shared) == (4, 8, 0, 1)
    assert of_days(read_sets(opened)) == EXPECTED


def test_a_duplicate_within_a_partition_is_still_one(tmp_path: Path) -> None:
    write_days(tmp_path, nested=True)
    pq.write_table(candidate_sets(DAYS["2026-01-01"]), tmp_path / "day=2026-01-01" / "part-1.parquet")
    assert open_input(str(tmp_path)).repeated.tolist() == [2, 3]


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 9])
@pytest.mark.parametrize("nested", [False, True])
def test_a_limit_counts_the_queries_of_each_partition(tmp_path: Path, limit: int, *, nested: bool) -> None:
    opened = open_input(str(write_days(tmp_path, nested=nested)), limit=limit)
    assert of_days(read_sets(opened)) == EXPECTED[:limit]
    assert opened.queries == min(limit, 4)


@pytest.mark.parametrize("limit", [None, 1, 3])
def test_unclustered_pairs_are_grouped_within_their_partition(tmp_path: Path, limit: int | None) -> None:
    for day, rows in DAYS.items():
        table = pairs_table(rows)
        (tmp_path / f"day={day}").mkdir()
        for number in range(2):
            part = table.take(list(range(number, table.num_rows, 2)))
            pq.write_table(part, tmp_path / f"day={day}" / f"{number}.parquet")
    opened = open_input(str(tmp_path), regroup=True, limit=limit)
    assert not isinstance(opened.source, Source)
    rows = group_without_ray(opened.source)
    expected = [(*row[:3], sorted(row[3])) for row in EXPECTED][: limit or 4]
    assert [(*row[:3], sorted(row[3])) for row in of_days(rows)] == expected
    assert (opened.queries, opened.pairs) == (len(expected), sum(len(row[3]) for row in expected))
    assert columns_of(opened.source)[0].keys() == {"query_id", "query", "day"}
    assert sample(opened.source, target_pairs=1).column("day").null_count == 0


@pytest.mark.parametrize("queries_have_days", [False, True])
def test_the_keys_of_a_run_its_corpus_and_its_queries_travel(tmp_path: Path, *, queries_have_days: bool) -> None:
    for day, rows in DAYS.items():
        (tmp_path / "run" / f"day={day}").mkdir(parents=True)
        run = pairs_table(rows).select(["query_id", "doc_id"]).append_column("score", pairs_table(rows)["bm25"])
        pq.write_table(run, tmp_path / "run" / f"day={day}" / "part-0.parquet")
    (tmp_path / "corpus" / "lang=de").mkdir(parents=True)
    pq.write_table(pa.table({"doc_id": list("abcd"), "text": list("xyzu")}), tmp_path / "corpus" / "lang=de/0.parquet")
    queries = tmp_path / "queries" / "day=0" if queries_have_days else tmp_path / "queries"
    queries.mkdir(parents=True)
    pq.write_table(pa.table({"query_id": ["q1", "q2", "q3"], "query": list("123")}), queries / "0.parquet")
    opened = open_input(str(tmp_path / "run"), corpus=str(tmp_path / "corpus"), queries=str(tmp_path / "queries"))
    assert not isinstance(opened.source, Source)
    rows = group_without_ray(opened.source)
    assert {candidate["lang"] for row in rows for candidate in row["candidates"]} == {"de"}
    if queries_have_days:
        found = {(row["day"], row["candidates"][0]["day"], row["query_id"]) for row in rows}
        assert found == {(0, day, query_id) for day, query_id, _, _ in EXPECTED}
    else:
        assert {(row["day"], row["query_id"]) for row in rows} == {row[:2] for row in EXPECTED}


def test_a_table_may_be_partitioned_by_query_id(tmp_path: Path) -> None:
    for query_id, query, candidates in DAYS["2026-01-01"]:
        (tmp_path / f"query_id={query_id}").mkdir()
        table = pairs_table([(query_id, query, candidates)]).drop_columns(["query_id"])
        pq.write_table(table, tmp_path / f"query_id={query_id}" / "0.parquet", row_group_size=1)
    opened = open_input(str(tmp_path))
    assert [(row["query_id"], len(row["candidates"])) for row in read_sets(opened)] == [("q1", 2), ("q2", 3)]


def test_a_key_can_be_renamed(tmp_path: Path) -> None:
    opened = open_input(str(write_days(tmp_path)), renames={"date": "day"})
    assert {row["date"] for row in read_sets(opened)} == set(DAYS)


def test_a_column_that_differs_from_its_folder_is_refused(tmp_path: Path) -> None:
    write_days(tmp_path)
    wrong = pairs_table(DAYS["2026-01-02"]).append_column("day", pa.array(["2026-01-03"] * 3))
    pq.write_table(wrong, tmp_path / "day=2026-01-02" / "part-0.parquet")
    with pytest.raises(InputError, match=r"the folder says day=2026-01-02, but the column 'day' .* has '2026-01-03'"):
        open_input(str(tmp_path))
