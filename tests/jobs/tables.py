"""Write candidate sets as Parquet files."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

WORDS = [
    "the",
    "list",
    "object",
    "sorts",
    "its",
    "items",
    "in",
    "place",
    "and",
    "returns",
    "none",
    "unless",
    "a",
    "key",
    "is",
    "given",
]

QueryRows = tuple[Any, str | None, Sequence[tuple[Any, str | None]]]


def pairs_table(rows: Sequence[QueryRows]) -> pa.Table:
    """Return one row per pair, with a first-stage score as a further column."""
    flat = [
        {"query_id": query_id, "query": query, "doc_id": doc_id, "text": text, "bm25": 1.0 / (place + 1)}
        for query_id, query, candidates in rows
        for place, (doc_id, text) in enumerate(candidates)
    ]
    names = ("query_id", "query", "doc_id", "text")
    return pa.Table.from_pylist(flat, pa.schema([*((name, pa.string()) for name in names), ("bm25", pa.float64())]))


def write_parts(table: pa.Table, folder: Path, *, cuts: Sequence[int], row_group_size: int) -> None:
    """Write a table as several files: one ends at each row number in `cuts`."""
    folder.mkdir(parents=True, exist_ok=True)
    bounds = [0, *sorted(min(cut, table.num_rows) for cut in cuts), table.num_rows]
    for number, (start, stop) in enumerate(pairwise(bounds)):
        part = table.slice(start, stop - start)
        pq.write_table(part, folder / f"in-{number:03d}.parquet", row_group_size=row_group_size)
