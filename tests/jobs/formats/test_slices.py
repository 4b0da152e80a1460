"""Slices of row groups: all rows once and in order, and of bounded size however often the file repeats a text."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.input import source as sources
from jobs.input.source import open_source, open_table
from jobs.input.splits import plan_splits, read_split
from rerank.sizes import row_bytes

LIMIT = 256 << 10
TEXTS = [f"text {number} " * 200 for number in range(50)]


@pytest.fixture(autouse=True)
def _small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "_BYTES_PER_SLICE", LIMIT)


@pytest.mark.parametrize("use_dictionary", [True, False])
@pytest.mark.parametrize("is_nested", [True, False])
def test_repeated_texts_give_slices_of_bounded_size(tmp_path: Path, *, use_dictionary: bool, is_nested: bool) -> None:
    hits = [{"doc_id": f"d{at}", "text": TEXTS[at % 50]} for at in range(2_000)]
    if is_nested:
        rows = [{"query_id": at, "query": "q", "candidates": hits[at : at + 10]} for at in range(0, 2_000, 10)]
    else:
        rows = [{"query_id": at // 10, "query": "q", **hit} for at, hit in enumerate(hits)]
    table = pa.Table.from_pylist(rows)
    pq.write_table(table, tmp_path / "in.parquet", use_dictionary=use_dictionary)
    source = open_source(str(tmp_path))
    read = [
        part
        for split in plan_splits(source, target_pairs=1)
        for part in source.read(*source.row_groups[split.start : split.stop])
    ]
    assert max(part.nbytes for part in read) <= LIMIT
    assert sum(part.nbytes for part in read) > 10 * LIMIT
    assert [row for part in read for row in part.to_pylist()] == rows
    for part in read:  # none keeps what lies outside of it alive
        assert part.get_total_buffer_size() < 4 * LIMIT
    sets = [row for part in read_split(source, plan_splits(source, target_pairs=1)[0]) for row in part.to_pylist()]
    assert sum(len(row["candidates"]) for row in sets) == 2_000


def test_a_row_beyond_the_limit_is_a_slice_of_its_own(tmp_path: Path) -> None:
    texts = ["a", "b", "x" * (2 * LIMIT), "c"]
    pq.write_table(pa.table({"text": texts}), tmp_path / "in.parquet")
    source = open_table(str(tmp_path), {})
    assert [part["text"].to_pylist() for part in source.read(*source.row_groups)] == [texts[:2], texts[2:3], texts[3:]]


def test_numbers_that_parquet_packs_count_in_full(tmp_path: Path) -> None:
    pq.write_table(pa.table({"number": [7] * 200_000}), tmp_path / "in.parquet")
    source = open_table(str(tmp_path), {})
    assert source.row_groups[0].bytes < 10_000
    assert max(part.nbytes for part in source.read(*source.row_groups)) <= LIMIT


text = st.none() | st.sampled_from(["", "a", "b" * 50, "c" * 99])
VALUES: dict[str, tuple[st.SearchStrategy[Any], pa.DataType]] = {
    "plain": (text, pa.string()),
    "bytes": (st.none() | st.binary(max_size=3), pa.binary()),
    "view": (text, pa.string_view()),
    "coded": (text, pa.dictionary(pa.int8(), pa.string())),
    "tags": (st.none() | st.lists(text, max_size=3), pa.list_(pa.string())),
    "pair": (st.none() | st.tuples(text, text).map(list), pa.list_(pa.string(), 2)),
    "map": (
        st.none() | st.dictionaries(st.sampled_from("xy"), text).map(lambda d: list(d.items())),
        pa.map_(pa.string(), pa.string()),
    ),
    "deep": (
        st.none()
        | st.lists(st.none() | st.fixed_dictionaries({"t": text, "u": st.lists(text, max_size=2)}), max_size=3),
        pa.large_list(pa.struct([("t", pa.string()), ("u", pa.list_(pa.string()))])),
    ),
}


@settings(max_examples=80)
@given(
    data=st.data(),
    kind=st.sampled_from(list(VALUES)),
    limit=st.sampled_from([1, 90, 400, 100_000]),
    group=st.integers(1, 20),
)
def test_values_of_every_type_are_read_as_they_were_written(
    data: st.DataObject, kind: str, limit: int, group: int
) -> None:
    values, kind_of_values = VALUES[kind]
    rows = data.draw(st.lists(values, min_size=1, max_size=30))
    table = pa.table({"row": range(len(rows)), "value": pa.array(rows, kind_of_values)})
    most = data.draw(st.integers(1, len(rows)))
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "_BYTES_PER_SLICE", limit)
        pq.write_table(
            table, Path(folder) / "in.parquet", row_group_size=group, data_page_size=100, dictionary_pagesize_limit=120
        )
        source = open_table(folder, {})
        whole, kept = source.row_groups[: most // group], most % group
        heads = [source.row_groups[len(whole)].head(kept)] if kept else []
        read = list(source.read(*whole, *heads))
        assert [row for part in read for row in part.to_pylist()] == table.slice(0, most).to_pylist()
        assert {part.schema for part in read} == {source.schema}
        assert all(part.num_rows == 1 or int(row_bytes(part).sum()) <= 2 * limit for part in read)
