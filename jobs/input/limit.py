"""Limit a source to its first queries: the same source with fewer row groups, the last one shortened."""

from dataclasses import replace

import numpy as np
import pyarrow as pa

from jobs.formats.columns import Layout
from jobs.formats.tables.hive import Keys
from jobs.input.source import RowGroup, Source
from jobs.input.splits import query_ids, run_offsets
from rerank.ranking.candidates import CANDIDATES, CandidateSets


def first_queries(source: Source, count: int) -> Source:
    """Return the source with its first `count` queries, in the order of files, row groups and rows."""
    kept: list[RowGroup] = []
    last: tuple[Keys, pa.Scalar] | None = None
    for group in source.row_groups:
        if source.layout is Layout.QUERIES:
            kept_rows, count = min(group.rows, count), count - group.rows
        else:
            ids = query_ids(source, group)
            starts = run_offsets(ids)[:-1]
            if last is not None and last[0] == group.keys and last[1].equals(ids[0]):
                starts = starts[1:]  # the group continues the last query of the previous one
            last = group.keys, ids[-1]
            kept_rows, count = int(starts[count]) if count < len(starts) else group.rows, count - len(starts)
        if kept_rows:
            kept.append(_cut(source, group, kept_rows))
        if kept_rows < group.rows:
            break
    return replace(source, row_groups=tuple(kept))


def _cut(source: Source, group: RowGroup, rows: int) -> RowGroup:
    """Return the first rows of a row group, with their pairs counted as Parquet footers count them."""
    cut = group.head(rows)
    if source.layout is Layout.PAIRS or cut.is_whole:
        return cut
    lists = [CandidateSets.from_table(table) for table in source.read(cut, columns=[CANDIDATES])]
    return replace(cut, pairs=sum(int(np.diff(sets.offsets).clip(min=1).sum()) for sets in lists))
