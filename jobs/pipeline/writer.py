"""Ranked blocks into staged Parquet parts, with what could not be ranked beside them."""

import uuid
from collections.abc import Callable, Iterable
from itertools import chain
from time import perf_counter

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from ray.data import Datasink
from ray.data._internal.execution.interfaces import TaskContext
from ray.data.datasource import WriteResult

from jobs.formats.columns import Layout
from jobs.pipeline.publish import PartReport, WrittenFile
from jobs.pipeline.staging import ERRORS, Staging
from rerank.errors import OutputError
from rerank.ranking.candidates import CANDIDATES, CandidateSets, combined
from rerank.reranker import REJECTED, USAGE

_BYTES_PER_PART = 64 << 20  # of ranked blocks in memory
_BYTES_PER_ROW_GROUP = 16 << 20


class RankedSink(Datasink[PartReport]):  # type: ignore[misc]
    """Writes ranked tables as Parquet parts and rejected candidates beside them under `_errors/`."""

    def __init__(self, staging: Staging, layout: Layout) -> None:
        self._staging = staging
        self._layout = layout
        self.reports: list[PartReport] = []

    def on_write_start(self, schema: pa.Schema | None = None) -> None:
        """Nothing to do: `jobs.pipeline.output.stage` makes the folder before anything is scored."""

    def write(self, blocks: Iterable[pa.Table], ctx: TaskContext) -> PartReport:
        """Stage the blocks of one task as one part."""
        started = perf_counter()
        self._staging.check()
        table = pa.concat_tables(list(blocks), promote_options="permissive")
        name = f"part-{ctx.task_idx:05d}-{uuid.uuid4().hex[:8]}.parquet"
        counts = count(table)
        files = [self._stage(name, table, lambda rows: ranked_rows(rows, self._layout))]
        if counts["pairs_rejected"] + counts["queries_without_candidates"]:
            files.append(self._stage(f"{ERRORS}/{name}", table, rejected_rows))
        return PartReport(tuple(files), {**counts, "write_seconds": perf_counter() - started})

    def on_write_complete(self, write_result: WriteResult[PartReport]) -> None:
        """Keep what the tasks reported, for `publish`."""
        self.reports = list(write_result.write_returns)

    @property
    def min_bytes_per_write(self) -> int:
        """Bytes that Ray gathers before a part is written."""
        return _BYTES_PER_PART

    def _stage(self, name: str, table: pa.Table, as_rows: Callable[[pa.Table], pa.Table]) -> WrittenFile:
        """Write what `as_rows` makes of the table, row group by row group; without rows it still has columns."""
        target = self._staging.folder.join(name)
        step = max(1, _BYTES_PER_ROW_GROUP * table.num_rows // max(1, table.nbytes))
        pieces = (as_rows(table.slice(start, step)) for start in range(0, max(1, table.num_rows), step))
        first, written = next(pieces), 0
        try:
            with (
                target.filesystem.open_output_stream(target.path) as stream,
                pq.ParquetWriter(stream, first.schema, compression="zstd") as writer,
            ):
                for rows in chain([first], pieces):
                    if rows.num_rows:
                        writer.write_table(rows)
                        written += rows.num_rows
        except OSError as problem:
            raise OutputError(f"{target.uri}: cannot be written: {problem}") from problem
        return WrittenFile(name, written)


def ranked_rows(table: pa.Table, layout: Layout) -> pa.Table:
    """The ranked candidates of a block: one row per pair, or one per query with a list."""
    kept = table.drop_columns([REJECTED, USAGE])
    return _flattened(kept, CANDIDATES) if layout is Layout.PAIRS else kept


def rejected_rows(table: pa.Table) -> pa.Table:
    """`query_id, doc_id, source_rank, reason` of all that could not be ranked."""
    return _flattened(table.select(["query_id", REJECTED]), REJECTED)


def count(table: pa.Table) -> dict[str, float]:
    """Sums over a block: ranked and rejected queries and pairs, and the engine's usage."""
    refused = combined(table.column(REJECTED)).flatten()
    bare = refused.field("source_rank").null_count
    usage = dict(zip(table.schema.field(USAGE).type.names, combined(table.column(USAGE)).flatten(), strict=True))
    ranked = pc.sum(pc.greater(usage["pairs_ranked"], 0)).as_py() or 0
    return {
        "queries_ranked": ranked,
        "queries_rejected": table.num_rows - ranked,
        "queries_without_candidates": bare,
        "pairs_rejected": len(refused) - bare,
        **{name: pc.sum(values).as_py() or 0 for name, values in usage.items()},
    }


def _flattened(table: pa.Table, lists: str) -> pa.Table:
    renamed = table.rename_columns([CANDIDATES if name == lists else name for name in table.column_names])
    return CandidateSets.from_table(renamed).to_rows()
