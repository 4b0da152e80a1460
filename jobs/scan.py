"""What can be known of a source from its query ids alone: how many queries, and whether each lies in one piece."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import pyarrow as pa
import pyarrow.compute as pc

from jobs.source import Layout, RowGroup, Source
from jobs.splits import run_offsets
from rerank.errors import InputError

_THREADS = 8
_NAMED = 3


@dataclass(frozen=True, slots=True)
class Scan:
    """Number of queries, and those ids that more than one of them bears."""

    queries: int
    repeated: tuple[object, ...]


def scan(source: Source) -> Scan:
    """Read the `query_id` column and nothing else; one thread per row group, memory for one id per query."""
    with ThreadPoolExecutor(_THREADS) as pool:
        groups = list(pool.map(lambda group: _heads(source, group), source.row_groups))
    if source.layout is Layout.PAIRS:
        groups = _without_continued(groups)
    ids = pa.chunked_array(groups, type=source.schema.field("query_id").type)
    counts = pc.value_counts(ids)
    repeated = counts.filter(pc.greater(counts.field("counts"), 1)).field("values").drop_null()
    return Scan(len(ids), tuple(repeated.slice(0, 1000).to_pylist()))


def check_clustered(source: Source, found: Scan) -> None:
    """Raise InputError where the rows of a query in the `pairs` layout do not lie together."""
    if source.layout is Layout.PAIRS and found.repeated:
        named = ", ".join(repr(query_id) for query_id in found.repeated[:_NAMED])
        raise InputError(
            f"{source.location.uri}: rows are not clustered by query: those of query_id {named} do not lie together; "
            "sort the table by query_id"
        )


def _heads(source: Source, group: RowGroup) -> pa.Array:
    """The query_id of each run of rows; of each row in the `queries` layout."""
    parts = [part.column("query_id") for part in source.read(group, columns=["query_id"])]
    ids = pa.chunked_array([chunk for part in parts for chunk in part.chunks]).combine_chunks()
    return ids.take(pa.array(run_offsets(ids)[:-1])) if source.layout is Layout.PAIRS else ids


def _without_continued(heads: list[pa.Array]) -> list[pa.Array]:
    """Row groups' runs, those that only go on with the last run of the group before left out."""
    return heads[:1] + [group.slice(1) if group[0].equals(before[-1]) else group for before, group in pairwise(heads)]
