"""Splits: ranges of row groups that are read independently, each yielding whole candidate sets.

In the `pairs` layout a split owns the queries that start in it and reads on until its last query ends, as MapReduce
splits text files by line: no shuffle is needed, and every query is read exactly once.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, takewhile

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from jobs.formats.columns import Layout
from jobs.input.source import RowGroup, Source
from rerank.arrays import Offsets, offsets_of
from rerank.ranking.candidates import CANDIDATES, CandidateSets, combined, keep_columns, list_column
from rerank.ranking.reject import INSTRUCTION, REFUSED, Codes, Reason, differing

# On GPUs and on CPUs: enough to pack well, also where most pairs are looked up, and to make up for the 50 ms that an
# actor's threads have nothing to do between two blocks. What is scored of a block is saved every few seconds.
_PAIRS_PER_BLOCK_GPU, _PAIRS_PER_BLOCK_CPU = 32_768, 4_096
# The last blocks decide when a job ends: an actor that is slower than the others may hold two of them then. So a job of
# several actors has smaller blocks if there are few for each, down to what packs well.
_BLOCKS_PER_ACTOR = 32
_LEAST_PAIRS_GPU, _LEAST_PAIRS_CPU = 4_096, 256
_VECTOR_BYTES_PER_BLOCK = 256 << 20  # of vectors that candidates bring: an actor holds some blocks at once
# A split is one task: all of it is scored again if its actor dies and there is no score store.
_BLOCKS_PER_SPLIT = 4
_PAIRS_PER_SPLIT = 50_000
_BYTES_PER_PAIR = 1_024  # of a prepared table: about 250 tokens

_QUERY_COLUMNS = ("query_id", "query", INSTRUCTION)

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Split:
    """Row groups `start` to `stop` (exclusive) of a source.

    `repeated` are its rows, counted from 0, whose query_id occurs in an earlier row of the source (`queries` layout).
    """

    start: int
    stop: int
    repeated: Sequence[int] = ()


def pairs_per_block(
    requested: int | None,
    *,
    on_gpu: bool,
    vector_bytes: int = 0,
    pairs: int = 0,
    actors: int = 1,
) -> int:
    """Return how many pairs an actor gets at once, of a job with so many pairs and actors.

    `vector_bytes` are those of the vectors that a candidate brings.
    """
    usual, least = (_PAIRS_PER_BLOCK_GPU, _LEAST_PAIRS_GPU) if on_gpu else (_PAIRS_PER_BLOCK_CPU, _LEAST_PAIRS_CPU)
    if actors > 1:
        usual = min(usual, max(least, pairs // (_BLOCKS_PER_ACTOR * actors)))
    return requested or min(usual, max(1, _VECTOR_BYTES_PER_BLOCK // max(1, vector_bytes)))


def pairs_per_split(block: int) -> int:
    """Return the least number of pairs to read in one task: a few blocks, up to a limit."""
    return min(_PAIRS_PER_SPLIT, _BLOCKS_PER_SPLIT * block)


def bytes_per_block(block: int) -> int:
    """Return the bytes of prepared pairs per block, so that Ray shares one large row group among all actors."""
    return _BYTES_PER_PAIR * block


def plan_splits(source: Source, *, target_pairs: int, repeated: Rows | None = None) -> list[Split]:
    """Cut the source into splits of at least `target_pairs` pairs, at row group borders.

    `repeated` are the rows of the whole source, ascending, whose query_id occurred before.
    """
    splits, start, pairs = [], 0, 0
    first_row = offsets_of([group.rows for group in source.row_groups])
    rows = np.empty(0, dtype=np.int64) if repeated is None else repeated
    for index, group in enumerate(source.row_groups, start=1):
        pairs += group.pairs
        if pairs >= target_pairs or index == len(source.row_groups):
            inside = slice(*np.searchsorted(rows, first_row[[start, index]]))
            splits.append(Split(start, index, tuple((rows[inside] - first_row[start]).tolist())))
            start, pairs = index, 0
    return splits


def read_split(source: Source, split: Split) -> Iterator[pa.Table]:
    """Read the candidate sets that the split owns: tables of `query_id, query, candidates: list<struct<…>>`.

    A `_refused` column, beside the query or inside the candidates, has the reject reasons that cannot be found by
    looking at one block alone, as `rerank.ranking.reject` does.
    """
    if source.layout is Layout.QUERIES:
        yield from _read_queries(source, split)
    else:
        for part in _by_partition(source, split):
            yield from _read_pairs(source, part)


def _by_partition(source: Source, split: Split) -> Iterator[Split]:
    """Cut a split where a partition ends, for there a query ends, too."""
    groups = groupby(range(split.start, split.stop), key=lambda at: source.row_groups[at].keys)
    yield from (Split(run[0], run[-1] + 1) for run in (list(places) for _, places in groups))


def _read_queries(source: Source, split: Split) -> Iterator[pa.Table]:
    if source.is_intermediate:
        yield from source.read(*source.row_groups[split.start : split.stop])
        return
    repeated, first = np.array(split.repeated, dtype=np.int64), 0
    for table in source.read(*source.row_groups[split.start : split.stop]):
        codes = np.zeros(table.num_rows, dtype=np.int8)
        codes[repeated[(repeated >= first) & (repeated < first + table.num_rows)] - first] = Reason.QUERY_ID_DUPLICATE
        first += table.num_rows
        yield _with_refused(_without_refused_inside(table), codes)


def _read_pairs(source: Source, split: Split) -> Iterator[pa.Table]:
    waiting: pa.Table | None = None  # rows of the last query, which the next rows may continue
    for rows in _owned_rows(source, split):
        joined = rows if waiting is None else pa.concat_tables([waiting, rows])
        offsets = run_offsets(combined(joined.column("query_id")))
        last = int(offsets[-2])
        if last:
            yield _nest(joined.slice(0, last), offsets[:-1], source.key_names)
        waiting = joined.slice(last)
    if waiting is not None:
        yield _nest(waiting, np.array([0, waiting.num_rows]), source.key_names)


def _owned_rows(source: Source, split: Split) -> Iterator[pa.Table]:
    """Yield the split's rows, minus the end of a query that began before it, plus the end of its own last query.

    All row groups of the split are in one partition, and so are the queries.
    """
    keys = source.row_groups[split.start].keys
    continues = split.start > 0 and source.row_groups[split.start - 1].keys == keys
    before = query_ids(source, source.row_groups[split.start - 1])[-1] if continues else None
    owned: pa.Scalar | None = None
    for rows in source.read(*source.row_groups[split.start : split.stop]):
        if before is not None:
            rows = rows.slice(_length_of_first_run(rows.column("query_id"), before))
            if not rows.num_rows:
                continue
            before = None
        owned = rows.column("query_id")[-1]
        yield rows
    if owned is None:
        return
    for group in takewhile(lambda group: group.keys == keys, source.row_groups[split.stop :]):
        ends = _length_of_first_run(query_ids(source, group), owned)
        if ends:
            yield from source.read(group.head(ends))
        if ends < group.rows:
            return


def query_ids(source: Source, *groups: RowGroup) -> pa.Array:
    """Return the query_id of each row of these row groups."""
    parts = [part.column("query_id") for part in source.read(*groups, columns=["query_id"])]
    return pa.chunked_array([chunk for part in parts for chunk in part.chunks]).combine_chunks()


def _length_of_first_run(query_ids: pa.Array | pa.ChunkedArray, query_id: pa.Scalar) -> int:
    """Count the leading rows with this query_id; null equals null."""
    same = pc.fill_null(pc.equal(query_ids, query_id), False) if query_id.is_valid else query_ids.is_null()
    other = pc.index(same, False).as_py()
    return len(query_ids) if other < 0 else int(other)


def run_offsets(query_id: pa.Array) -> Offsets:
    """Return where each run of equal ids begins, and the number of rows as the last entry."""
    codes = pc.dictionary_encode(query_id, null_encoding="encode").indices.to_numpy()
    starts = np.flatnonzero(np.diff(codes)) + 1
    return np.concatenate(([0], starts, [len(codes)])).astype(np.int64)


def _nest(rows: pa.Table, offsets: Offsets, key_names: Sequence[str]) -> pa.Table:
    """Nest clustered pairs into one row per query: all columns but the query's own go into the candidates.

    The query's own are its id, its text, its instruction and the keys of its partition.
    """
    own = list(dict.fromkeys((*(name for name in _QUERY_COLUMNS if name in rows.column_names), *key_names)))
    queries = rows.select(own).take(pa.array(offsets[:-1]))
    candidates = _with_refused(rows.drop_columns(own), differing(rows, offsets))
    return queries.append_column(CANDIDATES, list_column(candidates, offsets))


def _without_refused_inside(table: pa.Table) -> pa.Table:
    if REFUSED not in {field.name for field in table.schema.field(CANDIDATES).type.value_type}:
        return table
    sets = CandidateSets.from_table(table)
    return sets.with_candidates(keep_columns(sets.candidates, without=[REFUSED])).to_table()


def _with_refused(rows: pa.Table, codes: Codes) -> pa.Table:
    """Return the rows with these reasons as `_refused`, replacing any such column of the input."""
    return keep_columns(rows, without=[REFUSED]).append_column(REFUSED, pa.array(codes))
