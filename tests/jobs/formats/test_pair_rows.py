"""Files of candidate sets read as one row per pair: only the columns that are asked for, in bounded steps."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.formats import pair_rows
from jobs.formats.pair_rows import read_pairs
from jobs.formats.slices import read_slices
from jobs.formats.tables import files
from rerank.paths import locate

QUERIES, CANDIDATES, TEXTS = 200, 50, 20


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """10,000 pairs over 20 texts: 60 MB in memory, a hundred kilobytes in the file."""
    count = QUERIES * CANDIDATES
    codes = pa.array([at % TEXTS for at in range(count)], pa.int32())
    texts = pa.DictionaryArray.from_arrays(codes, pa.array([f"text {at} " * 700 for at in range(TEXTS)]))
    entries = pa.StructArray.from_arrays([pa.array([f"d{at}" for at in range(count)]), texts], ["doc_id", "text"])
    lists = pa.ListArray.from_arrays(pa.array(range(0, count + 1, CANDIDATES), pa.int32()), entries)
    table = pa.table({"query_id": range(QUERIES), "query": ["q" * 9_000] * QUERIES, "candidates": lists})
    pq.write_table(table, tmp_path / "in.parquet", row_group_size=100)
    return tmp_path


def test_the_texts_of_candidates_are_not_read_for_their_ids(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[pa.Table] = []

    def recording(*args: Any, **kwargs: Any) -> Iterator[pa.Table]:
        for table in read_slices(*args, **kwargs):
            read.append(table)
            yield table

    monkeypatch.setattr(files, "read_slices", recording)
    pairs = read_pairs(locate(str(folder)), [])
    assert pairs.num_rows == QUERIES * CANDIDATES
    assert pairs.slice(51, 1).to_pylist() == [{"query_id": "1", "doc_id": "d51"}]
    assert 0 < sum(table.nbytes for table in read) < 1 << 20


def test_texts_are_read_for_the_queries_that_are_asked_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pair_rows, "_BYTES_PER_SLICE", 1 << 20)
    pairs = read_pairs(locate(str(folder)), ["query", "text"], only=["7", "9", "none"])
    assert pairs["query_id"].to_pylist() == ["7"] * CANDIDATES + ["9"] * CANDIDATES
    assert pairs["text"].to_pylist()[:2] == ["text 10 " * 700, "text 11 " * 700]
    assert set(pairs["query"].to_pylist()) == {"q" * 9_000}


def test_a_file_without_rows_gives_a_table_without_rows(folder: Path, tmp_path: Path) -> None:
    schema = pq.read_schema(folder / "in.parquet")
    pq.write_table(schema.empty_table(), tmp_path / "in.parquet")
    assert read_pairs(locate(str(tmp_path)), ["text"]).num_rows == 0


def test_candidates_may_repeat_what_their_query_has(tmp_path: Path) -> None:
    candidate = {"doc_id": "a", "text": "b", "query_id": "other", "query": "another"}
    row = {"query_id": "q", "query": "what", "candidates": [candidate]}
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "in.parquet")
    pairs = read_pairs(locate(str(tmp_path)), ["query", "text"])
    assert pairs.to_pylist() == [{"query_id": "q", "doc_id": "a", "query": "what", "text": "b"}]
