"""Ranked blocks are staged as Parquet parts, and their queries and pairs are counted."""

from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.formats.columns import Layout
from jobs.input.source import open_source
from jobs.pipeline.counts import count
from jobs.pipeline.output import stage
from jobs.pipeline.staging import ERRORS
from jobs.pipeline.writer import RankedSink, ranked_slices, rejected_slices
from rerank.errors import OutputError
from rerank.paths import locate
from rerank.reranker import Reranker
from tests.fakes import ListedEngine, candidate_sets

CONTEXT = SimpleNamespace(task_idx=3)
MOST_BYTES = 1 << 20


@pytest.fixture(scope="module")
def block() -> pa.Table:
    """Two ranked queries with one rejected candidate, one rejected query, and one query without candidates."""
    sets = candidate_sets(
        [
            ("q1", "one", [("a", "x"), ("b", None), ("c", "z")]),
            ("q2", "two", [("a", "x")]),
            ("q3", " ", [("a", "x"), ("b", "y")]),
            ("q4", "four", []),
        ]
    )
    return Reranker(engine=ListedEngine([0.0, 1.0, 2.0])).rank_table(sets)


def test_one_row_per_pair_best_first(block: pa.Table) -> None:
    (rows,) = ranked_slices(block, Layout.PAIRS, MOST_BYTES)
    assert rows.column_names == ["query_id", "doc_id", "rank", "score", "logit", "source_rank"]
    assert rows.select(["query_id", "doc_id", "rank", "source_rank"]).to_pylist() == [
        {"query_id": "q1", "doc_id": "c", "rank": 1, "source_rank": 3},
        {"query_id": "q1", "doc_id": "a", "rank": 2, "source_rank": 1},
        {"query_id": "q2", "doc_id": "a", "rank": 1, "source_rank": 1},
    ]


def test_one_row_per_query(block: pa.Table) -> None:
    (rows,) = ranked_slices(block, Layout.QUERIES, MOST_BYTES)
    assert rows.column_names == ["query_id", "candidates"]
    assert [len(row) for row in rows.column("candidates")] == [2, 1, 0, 0]


def test_rejected_rows_have_ids_and_a_reason(block: pa.Table) -> None:
    (rows,) = rejected_slices(block, MOST_BYTES)
    assert rows.to_pylist() == [
        {"query_id": "q1", "doc_id": "b", "source_rank": 2, "reason": "text is null"},
        {"query_id": "q3", "doc_id": "a", "source_rank": 1, "reason": "query is blank"},
        {"query_id": "q3", "doc_id": "b", "source_rank": 2, "reason": "query is blank"},
        {"query_id": "q4", "doc_id": None, "source_rank": None, "reason": "candidate list is empty"},
    ]


def test_counts_add_up_to_what_was_read(block: pa.Table) -> None:
    counts = count(block)
    assert {
        name: counts[name] for name in ("queries_ranked", "queries_rejected", "pairs_ranked", "pairs_rejected")
    } == {
        "queries_ranked": 2,
        "queries_rejected": 2,
        "pairs_ranked": 3,
        "pairs_rejected": 3,
    }
    assert counts["queries_without_candidates"] == 1
    assert counts["pairs_scored"] == 3


@pytest.mark.parametrize("layout", Layout)
def test_a_part_has_row_groups_of_bounded_size(
    block: pa.Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: Layout
) -> None:
    monkeypatch.setattr("jobs.pipeline.writer._BYTES_PER_ROW_GROUP", 100)
    staging = stage(locate(str(tmp_path)))
    report = RankedSink(staging, layout).write([block.slice(0, 2), block.slice(2)], CONTEXT)
    ranked, errors = (pq.ParquetFile(staging.folder.join(file.name).path) for file in report.files)
    assert (ranked.num_row_groups, errors.num_row_groups) == (2, 3)
    assert ranked.read().equals(pa.concat_tables(ranked_slices(block, layout, MOST_BYTES)))
    assert errors.read().equals(pa.concat_tables(rejected_slices(block, MOST_BYTES)))
    assert [file.rows for file in report.files] == [3 if layout is Layout.PAIRS else 4, 4]


def test_columns_of_a_query_count_for_each_of_its_candidates() -> None:
    """A note of 2 KB that 500 candidates repeat is 1 MB, in a block of 40 KB."""
    sets = candidate_sets([(at, "q", [(doc, "x") for doc in range(500 if at == 1 else 3)]) for at in range(3)])
    ranked = Reranker(engine=ListedEngine([0.0] * 506)).rank_table(
        sets.append_column("note", pa.array(["n" * 2_000] * 3))
    )
    assert ranked.nbytes < 80_000
    parts = list(ranked_slices(ranked, Layout.PAIRS, 100_000))
    assert max(part.nbytes for part in parts) <= 100_000
    assert sum(part.nbytes for part in parts) > 1_000_000
    rows = [row for part in parts for row in part.to_pylist()]
    assert [row["query_id"] for row in rows] == [0] * 3 + [1] * 500 + [2] * 3
    assert [row["doc_id"] for row in rows[3:503]] == list(range(500))
    assert {row["note"] for row in rows} == {"n" * 2_000}


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
@pytest.mark.parametrize("layout", Layout)
def test_strings_have_the_type_that_they_have_in_the_input(
    block: pa.Table, tmp_path: Path, kind: pa.DataType, layout: Layout
) -> None:
    pq.write_table(
        pa.table({"query_id": pa.array(["q"], kind), "query": ["x"], "doc_id": [1], "text": ["t"]}),
        tmp_path / "in.parquet",
    )
    source = open_source(str(tmp_path / "in.parquet"))
    staging = stage(locate(str(tmp_path / "out")))
    report = RankedSink(staging, layout, large_strings=source.has_large_strings).write([block], CONTEXT)
    for file in report.files:
        schema = pq.read_schema(staging.folder.join(file.name).path)
        assert schema.field("query_id").type == kind
        inner = schema.field("candidates").type.value_type if "candidates" in schema.names else schema
        assert inner.field("doc_id").type == kind


def test_a_result_without_rows_still_has_its_columns(block: pa.Table, tmp_path: Path) -> None:
    staging = stage(locate(str(tmp_path)))
    report = RankedSink(staging, Layout.PAIRS).write([block.slice(2)], CONTEXT)
    ranked = pq.read_table(staging.folder.join(report.files[0].name).path)
    assert (ranked.num_rows, ranked.schema) == (0, next(ranked_slices(block, Layout.PAIRS, MOST_BYTES)).schema)
    report = RankedSink(staging, Layout.PAIRS).write([block.slice(1, 1)], CONTEXT)
    assert [file.rows for file in report.files] == [1]  # nothing is rejected, so there is no file of errors


def test_a_part_that_cannot_be_written_says_where(block: pa.Table, tmp_path: Path) -> None:
    staging = stage(locate(str(tmp_path)))
    Path(staging.folder.join(ERRORS).path).rmdir()
    Path(staging.folder.join(ERRORS).path).write_text("in the way")
    with pytest.raises(OutputError, match=r"_staging/\w+/_errors/part-00003-.*: cannot be written: "):
        RankedSink(staging, Layout.PAIRS).write([block], CONTEXT)


def test_a_run_stops_writing_when_another_has_started(block: pa.Table, tmp_path: Path) -> None:
    first = stage(locate(str(tmp_path)))
    stage(locate(str(tmp_path)))
    with pytest.raises(OutputError, match="another run has started to write there, so this run publishes nothing"):
        RankedSink(first, Layout.PAIRS).write([block], CONTEXT)
