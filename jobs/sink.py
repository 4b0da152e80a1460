"""Ranked blocks into staged Parquet parts, with what could not be ranked beside them."""

import uuid
from collections.abc import Iterable
from time import perf_counter

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from ray.data import Datasink
from ray.data._internal.execution.interfaces import TaskContext
from ray.data.datasource import WriteResult

from jobs.publish import ERRORS, STAGING, PartReport, WrittenFile
from jobs.source import Layout
from rerank.candidates import CANDIDATES, CandidateSets, combined
from rerank.errors import OutputError
from rerank.paths import Location
from rerank.reranker import REJECTED, USAGE


class RankedSink(Datasink[PartReport]):  # type: ignore[misc]
    """Writes ranked tables as Parquet parts and rejected candidates beside them under `_errors/`."""

    def __init__(self, output: Location, layout: Layout, *, queries_per_file: int) -> None:
        self._staging = output.join(STAGING)
        self._layout = layout
        self._queries_per_file = queries_per_file
        self.reports: list[PartReport] = []

    def on_write_start(self, schema: pa.Schema | None = None) -> None:
        """Nothing to do: `jobs.publish.stage` made the folder before anything was scored."""

    def write(self, blocks: Iterable[pa.Table], ctx: TaskContext) -> PartReport:
        """Stage the blocks of one task as one part."""
        started = perf_counter()
        table = pa.concat_tables(list(blocks), promote_options="permissive")
        name = f"part-{ctx.task_idx:05d}-{uuid.uuid4().hex[:8]}.parquet"
        staged = [(name, ranked_rows(table, self._layout)), (f"{ERRORS}/{name}", rejected_rows(table))]
        files = tuple(self._stage(name, rows) for name, rows in staged if rows.num_rows)
        return PartReport(files, {**count(table), "write_seconds": perf_counter() - started})

    def on_write_complete(self, write_result: WriteResult[PartReport]) -> None:
        """Keep what the tasks reported, for `publish`."""
        self.reports = list(write_result.write_returns)

    @property
    def min_rows_per_write(self) -> int:
        """Queries that Ray gathers before a part is written."""
        return self._queries_per_file

    def _stage(self, name: str, rows: pa.Table) -> WrittenFile:
        target = self._staging.join(name)
        try:
            with target.filesystem.open_output_stream(target.path) as stream:
                pq.write_table(rows, stream, compression="zstd")
        except OSError as problem:
            raise OutputError(f"{target.uri}: cannot be written: {problem}") from problem
        return WrittenFile(name, rows.num_rows)


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
    sets = CandidateSets.from_table(renamed)
    rows = sets.queries.take(pa.array(sets.query_of))
    for name in sets.candidates.column_names:
        rows = rows.append_column(name, sets.candidates.column(name))
    return rows
