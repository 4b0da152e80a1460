"""Write ranked blocks as staged Parquet parts, and rejected candidates as parts under `_errors/`."""

import uuid
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from posixpath import dirname
from time import perf_counter

import pyarrow as pa
import pyarrow.parquet as pq
from ray.data import Datasink
from ray.data._internal.execution.interfaces import TaskContext
from ray.data.datasource import WriteResult

from jobs.formats.columns import Layout
from jobs.formats.tables.hive import folder_of
from jobs.formats.tables.partitioned import by_partition
from jobs.pipeline.counts import count
from jobs.pipeline.staging import ERRORS, PartReport, Staging, WrittenFile
from rerank.cascade.handover import STAGE_USAGE
from rerank.errors import OutputError
from rerank.ranking.candidates import CANDIDATES, CandidateSets, keep_columns
from rerank.ranking.output_columns import REJECTED, USAGE
from rerank.sizes import narrow_type, slices, wide_type
from rerank.store.folder import Folder

_BYTES_PER_PART = 64 << 20  # size of its ranked blocks in memory
_BYTES_PER_ROW_GROUP = 16 << 20


class RankedSink(Datasink[PartReport]):  # type: ignore[misc]
    """A Ray Data sink that stages one part of ranked rows per write task, and one of rejected rows if there are any."""

    def __init__(
        self,
        staging: Staging,
        layout: Layout,
        *,
        partition_by: Sequence[str] = (),
        key_names: Sequence[str] = (),
        large_strings: bool = False,
    ) -> None:
        """Write to `staging` in this layout, in Hive partitions by the columns `partition_by`.

        `key_names` are the columns of a query that tell it from others of its id; rejected rows have them, too.
        `large_strings`: with Arrow's large strings, as some inputs have them.
        """
        self._staging = staging
        self._layout = layout
        self._partition_by = tuple(partition_by)
        self._key_names = tuple(key_names)
        self._type_of = wide_type if large_strings else narrow_type
        self.reports: list[PartReport] = []

    def on_write_start(self, schema: pa.Schema | None = None) -> None:
        """Do nothing: `jobs.pipeline.output.stage` makes the folder before anything is scored."""

    def write(self, blocks: Iterable[pa.Table], ctx: TaskContext) -> PartReport:
        """Stage the blocks of one task as one part. Raises OutputError."""
        started = perf_counter()
        self._staging.check()
        table = pa.concat_tables(list(blocks), promote_options="permissive")
        name = f"part-{ctx.task_idx:05d}-{uuid.uuid4().hex[:8]}.parquet"
        counts = count(table)
        files = [
            self._stage(f"{folder_of(keys)}/{name}" if keys else name, self._ranked_slices(part))
            for keys, part in by_partition(table, self._partition_by)
        ]
        if counts["pairs_rejected"] + counts["queries_without_candidates"]:
            rejected_rows = rejected_slices(table, _BYTES_PER_ROW_GROUP, key_names=self._key_names)
            files.append(self._stage(f"{ERRORS}/{name}", rejected_rows))
        return PartReport(tuple(files), {**counts, "write_seconds": perf_counter() - started})

    def on_write_complete(self, write_result: WriteResult[PartReport]) -> None:
        """Keep the reports of the tasks for `publish`."""
        self.reports = list(write_result.write_returns)

    @property
    def min_bytes_per_write(self) -> int:
        """Return the number of bytes that Ray collects before it calls `write`."""
        return _BYTES_PER_PART

    def _ranked_slices(self, table: pa.Table) -> Iterator[pa.Table]:
        return ranked_slices(table, self._layout, _BYTES_PER_ROW_GROUP)

    def _stage(self, name: str, row_groups: Iterator[pa.Table]) -> WrittenFile:
        """Write tables as the row groups of one file. A file without rows still has columns."""
        target = self._staging.folder.join(name)
        first, rows_written = next(row_groups), 0
        schema = pa.schema([field.with_type(self._type_of(field.type)) for field in first.schema])
        try:
            Folder(target.filesystem, dirname(target.path)).create()
            with (
                target.filesystem.open_output_stream(target.path) as stream,
                pq.ParquetWriter(stream, schema, compression="zstd") as writer,
            ):
                for rows in chain([first], row_groups):
                    if rows.num_rows:
                        writer.write_table(rows.cast(schema))
                        rows_written += rows.num_rows
            Folder(self._staging.folder.filesystem, self._staging.folder.path).flush(name)
        except OSError as problem:
            raise OutputError(f"{target.uri}: cannot be written: {problem}") from problem
        return WrittenFile(name, rows_written)


def ranked_slices(table: pa.Table, layout: Layout, most_bytes: int) -> Iterator[pa.Table]:
    """Yield the ranked candidates of a block: one row per pair, or one row per query with a list of candidates.

    Each table has at most `most_bytes` bytes, or one row that is larger. In the pairs layout this counts the columns of
    a query for each of its candidates.
    """
    ranked = keep_columns(table, without=(REJECTED, USAGE, STAGE_USAGE))
    return _flattened(ranked, CANDIDATES, most_bytes) if layout is Layout.PAIRS else slices(ranked, most_bytes)


def rejected_slices(table: pa.Table, most_bytes: int, *, key_names: Sequence[str] = ()) -> Iterator[pa.Table]:
    """Yield `query_id, doc_id, source_rank, reason` of the rejected candidates of a block, see `ranked_slices`.

    After `query_id` come the columns `key_names` of the query. A query without candidates is one row, in which `doc_id`
    and `source_rank` are null.
    """
    return _flattened(table.select(["query_id", *key_names, REJECTED]), REJECTED, most_bytes)


def _flattened(table: pa.Table, list_column: str, most_bytes: int) -> Iterator[pa.Table]:
    """Yield one row per entry of a list column, with the other columns repeated, in tables of bounded size."""
    renamed = table.rename_columns([CANDIDATES if name == list_column else name for name in table.column_names])
    for part in slices(renamed, most_bytes):
        yield from CandidateSets.from_table(part).to_row_slices(most_bytes)
