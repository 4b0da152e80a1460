"""What can be known of a source from its query ids alone: how many queries, and whether each lies in one piece."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.formats.columns import Layout
from jobs.input.source import RowGroup, Source
from jobs.input.splits import Rows, query_ids, run_offsets
from rerank.errors import InputError
from rerank.ranking.candidates import combined

THREADS, RUNS = 8, 32  # that read ids, and runs of row groups for them to share, at least
_NAMED = 3


@dataclass(frozen=True, slots=True)
class Scan:
    """Number of queries, those of them whose id an earlier one bears, as places, and the first few such ids.

    Places count queries from 0 in the order of the source: rows in the `queries` layout, runs of rows in `pairs`.
    """

    queries: int
    repeated: Rows
    named: tuple[object, ...]


def scan(source: Source) -> Scan:
    """Read the `query_id` column and nothing else, in some threads; memory for one id per query."""
    with ThreadPoolExecutor(THREADS) as pool:
        heads = list(pool.map(lambda run: _heads(source, *run), source.runs(RUNS)))
    if source.layout is Layout.PAIRS:
        heads = _without_continued(heads)
    ids = pa.chunked_array(heads, type=source.schema.field("query_id").type)
    repeated = _repeated(ids)
    named = ids.take(pa.array(repeated[:1000])).unique().slice(0, _NAMED)
    return Scan(len(ids), repeated, tuple(named.to_pylist()))


def check_clustered(source: Source, found: Scan) -> None:
    """Raise InputError where the rows of a query in the `pairs` layout do not lie together."""
    if source.layout is Layout.PAIRS and len(found.repeated):
        named = ", ".join(repr(query_id) for query_id in found.named)
        raise InputError(
            f"{source.location.uri}: rows are not clustered by query: those of query_id {named} do not lie together; "
            "sort the table by query_id, or give --regroup to have it done on the way"
        )


def _repeated(ids: pa.ChunkedArray) -> Rows:
    """Places of ids that were there before, ascending; nulls are no ids."""
    wide = ids.cast(pa.large_string()) if pa.types.is_string(ids.type) else ids
    codes = combined(pc.dictionary_encode(wide)).indices
    places = np.flatnonzero(codes.is_valid().to_numpy(zero_copy_only=False))
    _, first = np.unique(codes.drop_null().to_numpy(), return_index=True)
    return np.delete(places, first).astype(np.int64)


def _heads(source: Source, *groups: RowGroup) -> pa.Array:
    """The query_id of each run of rows; of each row in the `queries` layout."""
    ids = query_ids(source, *groups)
    return ids.take(pa.array(run_offsets(ids)[:-1])) if source.layout is Layout.PAIRS else ids


def _without_continued(heads: list[pa.Array]) -> list[pa.Array]:
    """The heads of each part of the source, one that only goes on with the last of the part before left out."""
    return heads[:1] + [part.slice(1) if part[0].equals(before[-1]) else part for before, part in pairwise(heads)]
