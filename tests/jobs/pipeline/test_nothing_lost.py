"""What cannot be ranked is rejected with ids and a reason, and ranked + rejected is what the footers said was read."""

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.formats.columns import Layout
from jobs.input.limit import first_queries
from jobs.input.query_ids import read_query_ids
from jobs.input.source import Source, open_source
from jobs.input.splits import plan_splits, read_split
from jobs.pipeline.counts import count
from jobs.pipeline.summary import Expected, check_nothing_lost
from jobs.pipeline.writer import ranked_slices, rejected_slices
from rerank import Reranker
from rerank.errors import ModelError
from rerank.prepare import prepare
from tests.fakes import HashEngine, candidate_sets
from tests.jobs.tables import write_parts

Row = tuple[str | None, str, list[tuple[str | None, str | None, bool]]]

RERANKER = Reranker(engine=HashEngine())


def rank_source(source: Source, *, target_pairs: int = 10) -> tuple[pa.Table, pa.Table]:
    """What a run without Ray ranks and rejects; checks its own sums as a run does."""
    found = read_query_ids(source)
    splits = plan_splits(source, target_pairs=target_pairs, repeated=found.repeated)
    blocks = [
        RERANKER.rank_table(prepare(table, RERANKER.encoder)) for split in splits for table in read_split(source, split)
    ]
    sums: dict[str, float] = {}
    for block in blocks:
        for name, value in count(block).items():
            sums[name] = sums.get(name, 0) + value
    check_nothing_lost(sums, Expected(found.queries, source.pairs))
    return (
        pa.concat_tables(part for block in blocks for part in ranked_slices(block, Layout.PAIRS, 1_000)),
        pa.concat_tables(part for block in blocks for part in rejected_slices(block, 1_000)),
    )


def reasons(path: Path, **options: Any) -> dict[tuple[Any, Any], str]:
    _, rejected = rank_source(open_source(str(path), **options))
    return {(row["query_id"], row["doc_id"]): row["reason"] for row in rejected.to_pylist()}


@cache
def logit_of(query: str, text: str) -> float | None:
    try:
        return RERANKER.rank(query, [text]).ranked[0].logit
    except ModelError:  # the engine gives NaN now and then
        return None


def reference(rows: list[Row]) -> tuple[set[tuple[Any, ...]], int]:
    """(query_id, doc_id, rank, logit, source_rank) of the ranked, and how many entries are rejected."""
    ranked: set[tuple[Any, ...]] = set()
    rejected, seen_queries = 0, {None}
    for query_id, query, candidates in rows:
        found, seen = [], {None}
        for source_rank, (doc_id, text, differs) in enumerate(candidates, start=1):
            sound = query_id not in seen_queries and query.strip() and doc_id not in seen and not differs
            seen.add(doc_id)
            if sound and (text or "").strip() and (logit := logit_of(query, text)) is not None:
                found.append((-logit, source_rank, doc_id))
        seen_queries.add(query_id)
        rejected += max(len(candidates), 1) - len(found)
        ranked |= {(query_id, doc, at, -low, place) for at, (low, place, doc) in enumerate(sorted(found), start=1)}
    return ranked, rejected


def write(rows: list[Row], layout: Layout, folder: str, *, cuts: list[int], row_group_size: int) -> None:
    if layout is Layout.PAIRS:
        flat = [
            {"query_id": query_id, "query": f"not {query}" if differs else query, "doc_id": doc_id, "text": text}
            for query_id, query, candidates in rows
            for doc_id, text, differs in candidates
        ]
        table = pa.Table.from_pylist(
            flat, pa.schema([(n, pa.string()) for n in ("query_id", "query", "doc_id", "text")])
        )
    else:
        table = candidate_sets([(i, q, [(d, t) for d, t, _ in candidates]) for i, q, candidates in rows])
    write_parts(table, Path(folder), cuts=cuts, row_group_size=row_group_size)


texts = st.sampled_from([None, "", " \u3000", "parcel", "warranty", "returns are free", "long " * 30])
candidate = st.tuples(st.none() | st.sampled_from("abcdef"), texts, st.integers(0, 5).map(lambda n: n == 0))
queries = st.sampled_from(["", "parcel?", "how long?", "free?"])
row = st.tuples(st.none() | st.sampled_from("tuvwxyz"), queries, st.lists(candidate, max_size=9))


@settings(max_examples=150)
@given(
    rows=st.lists(row, min_size=1, max_size=12),
    layout=st.sampled_from([Layout.QUERIES, Layout.PAIRS]),
    cuts=st.lists(st.integers(0, 60), max_size=3),
    row_group_size=st.integers(1, 12),
    target_pairs=st.integers(1, 40),
    limit=st.none() | st.integers(1, 12),
)
def test_every_layout_is_ranked_as_the_reference_does(
    rows: list[Row],
    layout: Layout,
    cuts: list[int],
    row_group_size: int,
    target_pairs: int,
    limit: int | None,
) -> None:
    if layout is Layout.PAIRS:  # a query has rows, its first one says what it asks, and no two bear one id
        once = {query_id: (query_id, query, candidates) for query_id, query, candidates in rows if candidates}
        rows = [(i, q, [(c[0][0], c[0][1], False), *c[1:]]) for i, q, c in once.values()]
    else:
        rows = [(i, q, [(d, t, False) for d, t, _ in candidates]) for i, q, candidates in rows]
    if not rows:
        return
    with TemporaryDirectory() as folder:
        write(rows, layout, folder, cuts=cuts, row_group_size=row_group_size)
        source = open_source(folder)
        ranked, rejected = rank_source(first_queries(source, limit) if limit else source, target_pairs=target_pairs)
    expected, refused = reference(rows[:limit])
    columns = ["query_id", "doc_id", "rank", "logit", "source_rank"]
    assert sorted(map(str, zip(*(ranked[name].to_pylist() for name in columns), strict=True))) == sorted(
        map(str, expected)
    )
    assert rejected.num_rows == refused
    assert rejected["reason"].null_count == 0


def test_a_query_id_counts_once_across_row_groups_and_files(tmp_path: Path) -> None:
    rows = [(f"q{n % 4}", "parcel?", [("a", "warranty"), ("b", "parcel")]) for n in range(10)]
    write_parts(candidate_sets(rows), tmp_path, cuts=[4], row_group_size=3)
    ranked, rejected = rank_source(open_source(str(tmp_path)), target_pairs=4)
    assert sorted(ranked["query_id"].to_pylist()) == ["q0", "q0", "q1", "q1", "q2", "q2", "q3", "q3"]
    assert set(rejected["reason"].to_pylist()) == {"query_id is a duplicate"}
    assert rejected.num_rows == 12


def test_more_repeats_than_a_message_names_are_all_found(tmp_path: Path) -> None:
    ids = [f"q{n}" for n in range(5_000)] * 2
    lists = pa.array([[]] * len(ids), pa.list_(pa.struct([("doc_id", pa.string()), ("text", pa.string())])))
    pq.write_table(pa.table({"query_id": ids, "query": ids, "candidates": lists}), tmp_path / "in.parquet")
    found = read_query_ids(open_source(str(tmp_path)))
    assert found.repeated.tolist() == list(range(5_000, 10_000))
    assert found.examples == ("q0", "q1", "q2")


def test_a_row_whose_query_differs_is_rejected(tmp_path: Path) -> None:
    table = pa.table(
        {
            "query_id": ["q1", "q1", "q1", "q2"],
            "query": ["parcel?", "warranty?", None, "free?"],
            "doc_id": list("abcd"),
            "text": ["x", "y", "z", "w"],
        }
    )
    pq.write_table(table, tmp_path / "in.parquet", row_group_size=1)
    differs = "query differs from that of the query_id's first row"
    assert reasons(tmp_path) == {("q1", "b"): differs, ("q1", "c"): differs}


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary()])
def test_binary_columns_are_read_and_bytes_that_are_no_text_rejected(tmp_path: Path, kind: pa.DataType) -> None:
    table = pa.table(
        {
            "query_id": [1, 1, 2],
            "query": pa.array([b"parcel?", b"parcel?", b"\xff"], kind),
            "doc_id": [1, 2, 1],
            "text": pa.array([b"cr\xc3\xa8me", b"cr\xe8me", b"x"], kind),
        }
    )
    pq.write_table(table, tmp_path / "in.parquet")
    assert reasons(tmp_path) == {(1, 2): "text is not valid UTF-8", (2, 1): "query is not valid UTF-8"}


def test_categories_and_unknown_columns_are_carried(tmp_path: Path) -> None:
    entry = pa.struct([("doc_id", pa.int64()), ("text", pa.string()), ("tags", pa.list_(pa.string()))])
    table = pa.table(
        {
            "query_id": pa.array(["q1", "q2"]).dictionary_encode(),
            "query": pa.array(["parcel?", "free?"]).dictionary_encode(),
            "lang": pa.array(["de", "en"]).dictionary_encode(),
            "meta": [{"team": 1}, {"team": 2}],
            "candidates": pa.array(
                [[{"doc_id": 7, "text": "x", "tags": ["a", "b"]}], [{"doc_id": 2**40, "text": "y", "tags": []}]],
                pa.list_(entry),
            ),
        }
    )
    pq.write_table(table, tmp_path / "in.parquet", row_group_size=1)
    source = open_source(str(tmp_path))
    assert source.pairs == 2  # not the tags
    ranked, rejected = rank_source(source)
    assert rejected.num_rows == 0
    assert ranked["doc_id"].to_pylist() == [7, 2**40]
    assert ranked.select(["query_id", "lang", "meta", "tags"]).to_pylist() == [
        {"query_id": "q1", "lang": "de", "meta": {"team": 1}, "tags": ["a", "b"]},
        {"query_id": "q2", "lang": "en", "meta": {"team": 2}, "tags": []},
    ]


def test_a_column_of_theirs_with_a_name_of_ours_decides_nothing(tmp_path: Path) -> None:
    table = candidate_sets([("q1", "parcel?", [("a", "x")])]).append_column("_refused", pa.array([1], pa.int8()))
    pq.write_table(table, tmp_path / "in.parquet")
    assert reasons(tmp_path) == {}
    entry = {"doc_id": "a", "text": "x", "_refused": 1}
    pq.write_table(
        pa.table({"query_id": ["q1"], "query": ["parcel?"], "candidates": [[entry]]}), tmp_path / "in.parquet"
    )
    assert reasons(tmp_path) == {}


def test_a_huge_document_is_ranked_like_its_head(tmp_path: Path) -> None:
    head = "the warranty covers what is broken " * 200
    huge = head + "and the list sorts in place " * (50_000_000 // 28)
    table = candidate_sets([("q1", "parcel?", [("a", "short"), ("b", huge), ("c", head + "and the list " * 999)])])
    pq.write_table(table, tmp_path / "in.parquet")
    ranked, rejected = rank_source(open_source(str(tmp_path)))
    assert (ranked.num_rows, rejected.num_rows) == (3, 0)
    logits = dict(zip(ranked["doc_id"].to_pylist(), ranked["logit"].to_pylist(), strict=True))
    assert logits["b"] == logits["c"]
