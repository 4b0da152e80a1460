"""Read the query ids of a source: count its queries, and find ids that occur in more than one place."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.formats.columns import Layout
from jobs.formats.tables.hive import Keys
from jobs.input.source import RowGroup, Source
from jobs.input.splits import Rows, query_ids, run_offsets
from rerank.arrays import IntArray
from rerank.errors import InputError
from rerank.ranking.candidates import combined
from rerank.ranking.reject import readable

THREADS, RUNS = 8, 32  # threads that read ids, and the least number of row group runs they share
_EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class QueryIds:
    """The number of queries, the positions of those whose id occurred before, and the first few such ids.

    Positions count queries from 0 in source order: rows in the `queries` layout, runs of equal ids in `pairs`. The same
    id in two partitions is two queries; `shared` counts the ids that are in a further partition.
    """

    queries: int
    repeated: Rows
    examples: tuple[object, ...]
    shared: int = 0


def read_query_ids(source: Source) -> QueryIds:
    """Read only the `query_id` column, in threads; holds one id per query in memory."""
    runs = source.runs(RUNS)
    with ThreadPoolExecutor(THREADS) as pool:
        heads = list(pool.map(lambda run: _heads(source, *run), runs))
    numbers: dict[Keys, int] = {}
    partitions = [numbers.setdefault(run[0].keys, len(numbers)) for run in runs]
    if source.layout is Layout.PAIRS:
        heads = _without_continued(heads, partitions)
    ids = pa.chunked_array(heads, type=source.schema.field("query_id").type)
    repeated, shared = _repeated(ids, np.repeat(partitions, [len(part) for part in heads]))
    examples = ids.take(pa.array(repeated[:1000])).unique().slice(0, _EXAMPLES)
    if pa.types.is_large_string(examples.type):
        examples = readable(examples)
    return QueryIds(len(ids), repeated, tuple(examples.to_pylist()), shared)


def check_clustered(source: Source, ids: QueryIds) -> None:
    """Raise InputError if the rows of a query in the `pairs` layout are not next to each other."""
    if source.layout is Layout.PAIRS and len(ids.repeated):
        examples = ", ".join(repr(query_id) for query_id in ids.examples)
        raise InputError(
            f"{source.location.uri}: rows are not clustered by query: those of query_id {examples} are not next to "
            "each other; sort the table by query_id, or give --regroup to group the rows while reading"
        )


def _repeated(ids: pa.ChunkedArray, partitions: IntArray) -> tuple[Rows, int]:
    """Return the positions of ids that occurred before in their partition, ascending, and how often one is in another.

    Nulls are ignored.
    """
    encoded = combined(pc.dictionary_encode(ids))
    positions = np.flatnonzero(encoded.indices.is_valid().to_numpy(zero_copy_only=False))
    codes = encoded.indices.drop_null().to_numpy().astype(np.int64)
    in_partitions = codes * (int(partitions.max(initial=0)) + 1) + partitions[positions]
    _, first = np.unique(in_partitions, return_index=True)
    return np.delete(positions, first).astype(np.int64), len(first) - len(np.unique(codes))


def _heads(source: Source, *groups: RowGroup) -> pa.Array:
    """Return the query_id of each run of equal ids, or of each row in the `queries` layout."""
    ids = query_ids(source, *groups)
    return ids.take(pa.array(run_offsets(ids)[:-1])) if source.layout is Layout.PAIRS else ids


def _without_continued(heads: list[pa.Array], partitions: list[int]) -> list[pa.Array]:
    """Drop the first head of each part that only continues the last query of the part before, in its partition."""
    rest = [
        part.slice(1) if here == there and part[0].equals(before[-1]) else part
        for (before, part), (there, here) in zip(pairwise(heads), pairwise(partitions), strict=True)
    ]
    return heads[:1] + rest
