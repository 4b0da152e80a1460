"""Bringing the rows of each query together with Ray Data, and keeping the candidate sets for the run that follows.

What the shuffle made is written below the output folder before anything is scored: no GPU waits for a shuffle, and the
rest of the run reads it like any other input.
"""

import uuid
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import ray
from ray.data import Dataset

from jobs.console import plural, say
from jobs.input.candidates import Input, counted
from jobs.input.join import KEY, PAIRS_PER_ROW_GROUP, RunJoin
from jobs.input.nest import candidate_sets, shuffled_schemas, with_documents
from jobs.input.source import Source, reopen_source
from rerank.errors import OutputError, RerankError
from rerank.paths import Location

_BYTES_PER_PARTITION = 64 << 20
_READERS = {"rows": RunJoin.read_rows, "documents": RunJoin.read_documents, "queries": RunJoin.read_queries}


def gathered(given: Input, folder: Location) -> Source:
    """The candidate sets of an input, gathered in `folder` where they do not lie together.

    Raises OutputError where they cannot be written, RerankError where rows got lost.
    """
    if isinstance(given.source, Source):
        return given.source
    say(f"grouping {plural(given.pairs, 'row')} by query ({plural(given.queries, 'query')})")
    source = gather(given.source, folder)
    found = counted(source)
    if (found.queries, found.pairs, len(found.repeated)) != (given.queries, given.pairs, 0):
        raise RerankError(
            f"grouping rows by query lost or repeated some: expected {plural(given.queries, 'query')} and "
            f"{plural(given.pairs, 'pair')}, got {plural(found.queries, 'query')} and {plural(found.pairs, 'pair')}; "
            "nothing was scored"
        )
    return source


def gather(gathering: RunJoin, folder: Location) -> Source:
    """The rows as candidate sets in `folder`, which must not hold any. Raises OutputError."""
    folder.filesystem.create_dir(folder.path, recursive=True)
    shared, partitions, schemas = ray.put(gathering), _partitions(gathering), shuffled_schemas(gathering)
    rows = _table(shared, "rows", gathering.rows)
    if gathering.corpus is not None and gathering.queries is not None:
        rows = rows.union(_table(shared, "documents", gathering.corpus)).repartition(partitions, keys=[KEY])
        rows = rows.map_batches(
            with_documents, fn_kwargs={"schema": schemas[0]}, batch_size=None, batch_format="pyarrow"
        )
        rows = rows.union(_table(shared, "queries", gathering.queries))
    written = rows.repartition(partitions, keys=[KEY]).map_batches(
        _write,
        fn_kwargs={"folder": folder, "schema": schemas[-1], "ids": gathering.id_types},
        batch_size=None,
        batch_format="pyarrow",
    )
    return reopen_source(folder, sorted(row["name"] for row in written.take_all()))


def _partitions(gathering: RunJoin) -> int:
    """Partitions of some 64 MiB, texts included."""
    size = sum(group.bytes for group in gathering.rows.row_groups)
    if gathering.corpus is not None:
        documents = sum(group.rows for group in gathering.corpus.row_groups)
        texts = sum(group.bytes for group in gathering.corpus.row_groups)
        size += max(texts, texts // max(1, documents) * gathering.pairs)
    return max(1, -(-size // _BYTES_PER_PARTITION))


def _table(shared: Any, name: str, source: Source) -> Dataset:
    items = [{"number": number} for number in range(len(source.row_groups))]
    return ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
        _read, fn_kwargs={"shared": shared, "name": name}, batch_size=1, batch_format="pyarrow"
    )


def _read(numbers: pa.Table, *, shared: Any, name: str) -> Iterator[pa.Table]:
    """Task body: one row group of one table, slice by slice."""
    gathering = ray.get(shared)
    for number in numbers.column("number").to_pylist():
        yield from _READERS[name](gathering, number)


def _write(rows: pa.Table, *, folder: Location, schema: pa.Schema, ids: dict[str, pa.DataType]) -> pa.Table:
    """Task body: the rows of one partition as one file of candidate sets."""
    sets = candidate_sets(rows, schema=schema, ids=ids)
    if not sets.num_rows:
        return pa.table({"name": pa.array([], pa.string())})
    target = folder.join(f"part-{uuid.uuid4().hex}.parquet")
    try:
        with target.filesystem.open_output_stream(target.path) as stream:
            queries = max(1, PAIRS_PER_ROW_GROUP * sets.num_rows // rows.num_rows)
            pq.write_table(sets, stream, compression="zstd", row_group_size=queries)
    except OSError as problem:
        raise OutputError(f"{target.uri}: cannot be written: {problem}") from problem
    return pa.table({"name": [target.path.rpartition("/")[2]]})
