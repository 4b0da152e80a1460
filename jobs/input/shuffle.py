"""Group rows by query with Ray Data, and write the candidate sets for the run that follows.

The candidate sets are written below the output folder before anything is scored: no GPU waits for a shuffle, and the
rest of the run reads them like any other input.
"""

import uuid
from collections.abc import Iterator
from itertools import chain
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import ray
from ray.data import Dataset

from jobs.console import plural, say
from jobs.input.candidates import Input, counted
from jobs.input.join import KEY_HASH, PAIRS_PER_ROW_GROUP, RowOwner, RunJoin
from jobs.input.nest import candidate_sets, shuffled_schemas, with_documents, with_schema
from jobs.input.sample import spaced
from jobs.input.source import Source, reopen_source
from rerank.errors import OutputError, RerankError
from rerank.paths import Location
from rerank.ranking.candidates import CANDIDATES, combined
from rerank.sizes import row_bytes

_BYTES_PER_PARTITION = 64 << 20
_PAIRS_PER_PARTITION = 100_000  # for the case that the longest documents are the ones in most pairs
_ROWS_PER_ESTIMATE = 1_000
_READERS = {"rows": RunJoin.read_rows, "documents": RunJoin.read_documents, "queries": RunJoin.read_queries}


def ensure_grouped(unread: Input, folder: Location) -> Source:
    """Return the candidate sets of an input, grouped and written to `folder` first if its rows are not grouped.

    Raises OutputError if they cannot be written, RerankError if rows are lost.
    """
    if isinstance(unread.source, Source):
        return unread.source
    say(f"grouping {plural(unread.pairs, 'row')} by query ({plural(unread.queries, 'query')})")
    source = group_by_query(unread.source, folder)
    counts = counted(source)
    repeated = unread.source.shared  # the files that were written are in no partition
    if (counts.queries, counts.pairs, len(counts.repeated)) != (unread.queries, unread.pairs, repeated):
        raise RerankError(
            f"rows were lost or repeated while grouping by query, nothing was scored: expected {unread.queries:,} "
            f"queries with {unread.pairs:,} pairs, got {counts.queries:,} with {counts.pairs:,}"
        )
    return source


def group_by_query(join: RunJoin, folder: Location) -> Source:
    """Group the rows into candidate sets and write them to `folder`, which must be empty. Raises OutputError."""
    folder.filesystem.create_dir(folder.path, recursive=True)
    shared, partitions, schemas = ray.put(join), _partitions(join), shuffled_schemas(join)
    rows = _table(shared, "rows", join.rows, schemas[0])
    if join.corpus is not None and join.queries is not None:
        documents = _table(shared, "documents", join.corpus, schemas[0])
        rows = rows.union(documents).repartition(partitions, keys=[KEY_HASH])
        rows = rows.map_batches(
            _with_documents, fn_kwargs={"schemas": schemas}, batch_size=None, batch_format="pyarrow"
        )
        rows = rows.union(_table(shared, "queries", join.queries, schemas[1]))
    written = rows.repartition(partitions, keys=[KEY_HASH]).map_batches(
        _write,
        fn_kwargs={"folder": folder, "schema": schemas[-1], "owner": join.owner},
        batch_size=None,
        batch_format="pyarrow",
    )
    return reopen_source(folder, sorted(row["name"] for row in written.take_all()))


def _partitions(join: RunJoin) -> int:
    """Return the number of partitions of about 64 MiB, texts included, and of a bounded number of pairs."""
    size = _bytes_in_memory(join.rows)
    if join.corpus is not None:
        documents = sum(group.rows for group in join.corpus.row_groups)
        texts = _bytes_in_memory(join.corpus)
        size += max(texts, texts // max(1, documents) * join.pairs)
    return max(1, -(-size // _BYTES_PER_PARTITION), -(-join.pairs // _PAIRS_PER_PARTITION))


def _bytes_in_memory(source: Source) -> int:
    """Estimate the bytes of all rows after decoding, from the first rows of a few row groups."""
    groups = [source.row_groups[at] for at in spaced(len(source.row_groups))]
    heads = [next(source.read(group.head(min(group.rows, _ROWS_PER_ESTIMATE)))) for group in groups]
    per_row = sum(int(row_bytes(head).sum()) for head in heads) / sum(head.num_rows for head in heads)
    encoded = sum(group.bytes for group in source.row_groups)
    return max(encoded, int(per_row * sum(group.rows for group in source.row_groups)))


def _table(shared: Any, name: str, source: Source, schema: pa.Schema) -> Dataset:
    items = [{"number": number} for number in range(len(source.row_groups))]
    return ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
        _read, fn_kwargs={"shared": shared, "name": name, "schema": schema}, batch_size=1, batch_format="pyarrow"
    )


def _read(numbers: pa.Table, *, shared: Any, name: str, schema: pa.Schema) -> Iterator[pa.Table]:
    """Task body: read one row group of one table, slice by slice.

    All blocks of a shuffle have its `schema`: Ray (2.60) cannot join blocks of two schemas that lie on two nodes, or of
    which some are small.
    """
    join = ray.get(shared)
    for number in numbers.column("number").to_pylist():
        yield from (with_schema(table, schema) for table in _READERS[name](join, number))


def _with_documents(rows: pa.Table, *, schemas: list[pa.Schema]) -> Iterator[pa.Table]:
    """Task body: look up the documents of one partition; the tables have the schema of the next shuffle."""
    yield from (with_schema(table, schemas[1]) for table in with_documents(rows, schema=schemas[0]))


def _write(rows: pa.Table, *, folder: Location, schema: pa.Schema, owner: RowOwner) -> pa.Table:
    """Task body: write the rows of one partition as one file of candidate sets."""
    sets = candidate_sets(rows, schema=schema, owner=owner)
    first = next(sets)
    if not first.num_rows:
        return pa.table({"name": pa.array([], pa.string())})
    target = folder.join(f"part-{uuid.uuid4().hex}.parquet")
    try:
        with (
            target.filesystem.open_output_stream(target.path) as stream,
            pq.ParquetWriter(stream, first.schema, compression="zstd") as writer,
        ):
            for part in chain([first], sets):
                writer.write_table(part, _queries_per_row_group(part))
    except OSError as problem:
        raise OutputError(f"{target.uri}: cannot be written: {problem}") from problem
    return pa.table({"name": [target.path.rpartition("/")[2]]})


def _queries_per_row_group(sets: pa.Table) -> int:
    pairs = len(combined(sets.column(CANDIDATES)).flatten())
    return max(1, PAIRS_PER_ROW_GROUP * int(sets.num_rows) // max(1, pairs))
