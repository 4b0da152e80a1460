"""Splits of the `pairs` layout: each query whole and once, wherever row groups and files end."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.input.query_ids import check_clustered, read_query_ids
from jobs.input.source import open_source
from jobs.input.splits import pairs_per_block, plan_splits, read_split
from rerank.errors import InputError
from rerank.ranking.candidates import CandidateSets
from rerank.ranking.reject import REFUSED, Reason, check
from tests.jobs.tables import QueryRows, pairs_table, write_parts

query_sizes = st.lists(st.integers(1, 12), min_size=1, max_size=12)


def make_rows(sizes: list[int], *, null_at: int | None = None) -> list[QueryRows]:
    return [
        (None if number == null_at else f"q{number}", f"query {number}", [(f"d{i}", f"text {i}") for i in range(size)])
        for number, size in enumerate(sizes)
    ]


@settings(max_examples=60)
@given(
    sizes=query_sizes,
    cuts=st.lists(st.integers(0, 100), max_size=4),
    row_group_size=st.integers(1, 20),
    target_pairs=st.integers(1, 40),
    null_at=st.none() | st.integers(0, 11),
)
def test_splits_give_every_query_whole_and_once(
    sizes: list[int], cuts: list[int], row_group_size: int, target_pairs: int, null_at: int | None
) -> None:
    rows = make_rows(sizes, null_at=null_at)
    with TemporaryDirectory() as folder:
        write_parts(pairs_table(rows), Path(folder), cuts=cuts, row_group_size=row_group_size)
        source = open_source(folder)
        splits = plan_splits(source, target_pairs=target_pairs)
        tables = [table for split in splits for table in read_split(source, split)]
        found = read_query_ids(source)
    read = [
        (row["query_id"], row["query"], [(c["doc_id"], c["text"]) for c in row["candidates"]])
        for row in pa.concat_tables(tables).to_pylist()
    ]
    assert read == rows
    assert found.queries == len(rows)
    check_clustered(source, found)


@given(sizes=query_sizes, row_group_size=st.integers(1, 20), target_pairs=st.integers(1, 40))
@settings(max_examples=20)
def test_splits_cover_all_row_groups_in_order(sizes: list[int], row_group_size: int, target_pairs: int) -> None:
    with TemporaryDirectory() as folder:
        write_parts(pairs_table(make_rows(sizes)), Path(folder), cuts=[], row_group_size=row_group_size)
        source = open_source(folder)
    splits = plan_splits(source, target_pairs=target_pairs)
    assert [split.start for split in splits] == [0, *(split.stop for split in splits[:-1])]
    assert splits[-1].stop == len(source.row_groups)


def test_a_query_that_spans_several_splits_belongs_to_the_first(tmp_path: Path) -> None:
    write_parts(pairs_table(make_rows([2, 50, 1])), tmp_path, cuts=[20, 40], row_group_size=5)
    source = open_source(str(tmp_path))
    owners = [
        [row["query_id"] for table in read_split(source, split) for row in table.to_pylist()]
        for split in plan_splits(source, target_pairs=5)
    ]
    assert [owned for owned in owners if owned] == [["q0", "q1"], ["q2"]]


def test_rows_that_are_not_clustered_are_found_and_named(tmp_path: Path) -> None:
    table = pairs_table(make_rows([3, 3, 3]))
    write_parts(pa.concat_tables([table, table.slice(0, 2)]), tmp_path, cuts=[], row_group_size=4)
    source = open_source(str(tmp_path))
    with pytest.raises(InputError, match=r"not clustered by query: those of query_id 'q0' are not next to each other"):
        check_clustered(source, read_query_ids(source))


def test_carried_columns_become_candidate_fields(tmp_path: Path) -> None:
    write_parts(pairs_table(make_rows([2])), tmp_path, cuts=[], row_group_size=5)
    source = open_source(str(tmp_path))
    (table,) = read_split(source, plan_splits(source, target_pairs=10)[0])
    assert table.to_pylist()[0]["candidates"][1] == {"doc_id": "d1", "text": "text 1", "bm25": 0.5, "_refused": 0}


def test_the_instruction_of_a_query_is_that_of_its_first_row(tmp_path: Path) -> None:
    table = pairs_table([("q1", "one", [("a", "x"), ("b", "y"), ("c", "z")]), ("q2", "two", [("a", "x")])])
    table = table.append_column("instruction", pa.array(["find", "find", "other", None]))
    pq.write_table(table, tmp_path / "in.parquet")
    source = open_source(str(tmp_path))
    read = pa.concat_tables(read_split(source, plan_splits(source, target_pairs=1)[0]))
    assert read["instruction"].to_pylist() == ["find", None]
    candidates = CandidateSets.from_table(read).candidates
    assert "instruction" not in candidates.column_names
    assert candidates[REFUSED].to_pylist() == [0, 0, Reason.INSTRUCTION_DIFFERS, 0]
    assert check(CandidateSets.from_table(read))[1].tolist() == [0, 0, Reason.INSTRUCTION_DIFFERS, 0]


@pytest.mark.parametrize(
    ("on_gpu", "actors", "pairs", "per_block"),
    [
        (False, 1, 100, 4_096),
        (False, 2, 10**7, 4_096),
        (False, 4, 64_000, 500),
        (False, 4, 1_000, 256),
        (True, 1, 100, 32_768),
        (True, 4, 10**6, 7_812),
        (True, 4, 100, 4_096),
    ],
)
def test_several_actors_share_few_pairs_in_small_blocks(on_gpu, actors, pairs, per_block):
    assert pairs_per_block(None, on_gpu=on_gpu, actors=actors, pairs=pairs) == per_block
    assert pairs_per_block(64, on_gpu=on_gpu, actors=actors, pairs=pairs) == 64
