"""The first queries of a source, to try a run on: the same source with fewer row groups, the last cut short."""

from dataclasses import replace

import numpy as np
import pyarrow as pa

from jobs.formats.columns import Layout
from jobs.input.source import RowGroup, Source
from jobs.input.splits import query_ids, run_offsets
from rerank.ranking.candidates import CANDIDATES, CandidateSets


def first_queries(source: Source, count: int) -> Source:
    """The source with its first `count` queries, in the order of files, row groups and rows."""
    kept: list[RowGroup] = []
    last: pa.Scalar | None = None
    for group in source.row_groups:
        if source.layout is Layout.QUERIES:
            wanted, count = min(group.rows, count), count - group.rows
        else:
            ids = query_ids(source, group)
            starts = run_offsets(ids)[:-1]
            if last is not None and ids[0].equals(last):
                starts = starts[1:]  # the group goes on with the last query of the one before
            last = ids[-1]
            wanted, count = int(starts[count]) if count < len(starts) else group.rows, count - len(starts)
        if wanted:
            kept.append(_cut(source, group, wanted))
        if wanted < group.rows:
            break
    return replace(source, row_groups=tuple(kept))


def _cut(source: Source, group: RowGroup, rows: int) -> RowGroup:
    """The first rows of a row group, their pairs counted as footers count them."""
    cut = group.head(rows)
    if source.layout is Layout.PAIRS or cut.is_whole:
        return cut
    lists = [CandidateSets.from_table(table) for table in source.read(cut, columns=[CANDIDATES])]
    return replace(cut, pairs=sum(int(np.diff(sets.offsets).clip(min=1).sum()) for sets in lists))
