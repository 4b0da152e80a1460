"""Columns of the input that are called like columns of the output keep their values, under other names."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.formats.columns import Layout
from jobs.input.candidates import Input, open_input
from jobs.input.source import Source
from jobs.input.splits import plan_splits, read_split
from jobs.pipeline.writer import ranked_slices
from rerank.prepare import prepare
from rerank.ranking.output_columns import CANDIDATE_COLUMNS, QUERY_COLUMNS
from rerank.reranker import Reranker
from rerank.tables.prepared import INTERNAL_COLUMNS
from tests.fakes import ListedEngine
from tests.jobs.input.test_join import group_without_ray

NAMES = [name for name in (*CANDIDATE_COLUMNS, *INTERNAL_COLUMNS, "input_rank") if name != "score"]
FIELDS = {name: f"candidate's {name}" for name in NAMES}
OF_QUERY = {name: f"query's {name}" for name in (*QUERY_COLUMNS, "text", *INTERNAL_COLUMNS) if name != "candidates"}
LAYOUTS = [Layout.PAIRS, Layout.QUERIES]


def ranked_rows(opened: Input, layout: Layout, *, keep_text: bool) -> list[dict[str, Any]]:
    """What a run writes in this layout."""
    if isinstance(opened.source, Source):
        splits = plan_splits(opened.source, target_pairs=1)
        table = pa.concat_tables([part for split in splits for part in read_split(opened.source, split)])
    else:
        table = pa.Table.from_pylist(group_without_ray(opened.source))
    reranker = Reranker(engine=ListedEngine([2.0]))
    block = reranker.rank_table(prepare(table, reranker.encoder, keep_text=keep_text))
    return [row for rows in ranked_slices(block, layout, 1 << 20) for row in rows.to_pylist()]


def values_of(rows: list[dict[str, Any]]) -> set[object]:
    (row,) = rows
    candidates = row.pop("candidates", [{}])
    return {value for value in [*row.values(), *candidates[0].values()] if isinstance(value, str)}


@pytest.mark.parametrize("keep_text", [False, True])
@pytest.mark.parametrize("output_layout", LAYOUTS)
@pytest.mark.parametrize("first_stage", ["score", "source_score"])
@pytest.mark.parametrize("layout", [*LAYOUTS, "unclustered"])
def test_no_value_is_lost(
    tmp_path: Path, layout: str, first_stage: str, output_layout: Layout, *, keep_text: bool
) -> None:
    fields = {**FIELDS, first_stage: 0.5}
    candidate = {"doc_id": "a", "text": "b", **fields}
    row: dict[str, Any] = {"query_id": "q", "query": "what", **candidate}
    if layout == Layout.QUERIES:
        candidate |= {"query_id": "candidate's query_id", "query": "candidate's query"}
        row = {"query_id": "q", "query": "what", **OF_QUERY, "candidates": [candidate]}
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "in.parquet")
    opened = open_input(str(tmp_path), regroup=layout == "unclustered")
    rows = ranked_rows(opened, output_layout, keep_text=keep_text)
    pair = rows[0] if output_layout is Layout.PAIRS else rows[0]["candidates"][0]
    assert (rows[0]["query_id"], pair["doc_id"], pair["rank"], pair["source_score"]) == ("q", "a", 1, 0.5)
    assert (pair["input_rank"], pair["input_input_rank"]) == ("candidate's input_rank", "candidate's rank")
    assert opened.source.renamed["rank"] == "input_input_rank"
    expected = {value for value in fields.values() if isinstance(value, str)}
    if layout == Layout.QUERIES:
        expected |= {*OF_QUERY.values(), "candidate's query_id", "candidate's query"}
    assert expected <= values_of(rows)


@pytest.mark.parametrize("output_layout", LAYOUTS)
def test_no_value_of_a_run_its_corpus_and_its_queries_is_lost(tmp_path: Path, output_layout: Layout) -> None:
    of_run = {"rank": "run's rank", "query": "run's query", "source_score": "run's source_score"}
    of_document = {name: f"document's {name}" for name in ("logit", "score", "query_id", "_refused")}
    of_query = {name: f"query's {name}" for name in ("usage", "candidates", "_reason", "rank")}
    tables = {
        "run": {"query_id": "q", "doc_id": "a", "score": 0.5, **of_run},
        "corpus": {"doc_id": "a", "text": "b", **of_document},
        "queries": {"query_id": "q", "query": "what", **of_query},
    }
    for name, row in tables.items():
        pq.write_table(pa.Table.from_pylist([row]), tmp_path / f"{name}.parquet")
    run, corpus, queries = (str(tmp_path / f"{name}.parquet") for name in tables)
    opened = open_input(run, corpus=corpus, queries=queries)
    rows = ranked_rows(opened, output_layout, keep_text=False)
    assert {*of_run.values(), *of_document.values(), *of_query.values()} <= values_of(rows)
    assert opened.source.renamed["score"] == "input_score"


def test_other_columns_keep_their_names(tmp_path: Path) -> None:
    row = {"query_id": "q", "query": "what", "doc_id": "a", "text": "b", "score": 0.5, "url": "u"}
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "in.parquet")
    opened = open_input(str(tmp_path))
    assert opened.source.renamed == {}
    assert ranked_rows(opened, Layout.PAIRS, keep_text=False)[0]["url"] == "u"
