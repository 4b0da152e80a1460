"""The Ray Data pipeline: read and prepare on CPUs, then rank on a pool of actors."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import lru_cache
from time import perf_counter
from typing import Any

import pyarrow as pa
import ray
from ray.data import ActorPoolStrategy, Dataset

from jobs.input.source import Source
from jobs.input.splits import Split, read_split
from jobs.pipeline.counts import CountsReporter
from jobs.pipeline.score_lookup import open_snapshot
from jobs.pipeline.stages.pool import Pool
from jobs.pipeline.stages.stage import Stage
from rerank.actor import RerankActor
from rerank.config import ScorerConfig
from rerank.encoding.pairs import PairEncoder
from rerank.encoding.windows import Splitter
from rerank.engines import load_encoder
from rerank.fingerprint import check_content
from rerank.prepare import prepare

# How often Ray runs a task again whose process died; by default it does so without end. Finding a pair that kills its
# process takes up to six deaths (`rerank.isolation.isolate`).
_MAX_DEATHS = 30
# Blocks per actor, the one that it scores included. An idle actor cannot take over a block that another one holds.
_TASKS_IN_FLIGHT = 2
# Stages whose encoder a process keeps, for it may prepare for each of them in turn.
_STAGES_AT_ONCE = 4


def rank_dataset(
    source: Source,
    splits: list[Split],
    stages: Sequence[Stage],
    *,
    block_bytes: int,
    keep_text: bool = False,
    reporter: CountsReporter | None = None,
    prepare_resources: Mapping[str, float] | None = None,
) -> Dataset:
    """Return the lazy dataset of blocks that all stages ranked, one after another.

    `Reranker.rank_table` lists its columns, and `Handover` what a cascade adds. Blocks have about `block_bytes` bytes,
    or more if a stage's `queries_per_block` asks for that. Each task that reads and prepares reserves a CPU and the
    custom resources in `prepare_resources`.
    """
    dataset = ray.data.from_items([asdict(split) for split in splits], override_num_blocks=len(splits))
    dataset.context.target_max_block_size = block_bytes
    shared_source = ray.put(source)
    for number, stage in enumerate(stages, start=1):
        is_first = number == 1
        dataset = dataset.map_batches(
            _read_and_prepare if is_first else _prepare_kept,
            fn_kwargs={
                "shared": ray.put((stage.score_lookup, stage.encoder)),
                "scorer": stage.scorer,
                "keep_text": keep_text or number < len(stages),
                "reporter": reporter,
                **({"source": shared_source, "depth": stage.options.depth} if is_first else {}),
            },
            batch_size=1 if is_first else stage.queries_per_block,
            batch_format="pyarrow",
            num_cpus=1,
            resources=dict(prepare_resources or {}),
            udf_modifying_row_count=is_first,
            max_retries=_MAX_DEATHS,
        )
        dataset = _rank(dataset, stage, reporter.of_stage(stage.finish_block) if reporter else None)
    return dataset


def _rank(dataset: Dataset, stage: Stage, reporter: CountsReporter | None) -> Dataset:
    """Rank prepared blocks on the stage's actors."""
    score_lookup = stage.score_lookup
    parts = score_lookup.parts if score_lookup else ()
    return dataset.map_batches(
        RerankActor,
        fn_constructor_args=[stage.scorer],
        fn_constructor_kwargs={
            "options": stage.options,
            "on_block": reporter.block if reporter else None,
            "on_progress": reporter.scored if reporter else None,
            "store": score_lookup.store if score_lookup else None,
            "after_part": parts[-1].name if parts else "",
            "attempts": stage.attempts,
            "preload": False,
            "finish_block": stage.finish_block,
            "engine": stage.engine,
            "encoder": stage.encoder,
        },
        compute=ActorPoolStrategy(
            min_size=_least_actors(stage.pool),
            max_size=stage.pool.most,
            initial_size=stage.pool.size,
            max_tasks_in_flight_per_actor=_TASKS_IN_FLIGHT,
        ),
        batch_size=stage.queries_per_block,
        batch_format="pyarrow",
        num_cpus=stage.pool.cpus,
        num_gpus=stage.pool.gpus or None,
        resources=dict(stage.pool.resources),
        udf_modifying_row_count=False,
        max_task_retries=_MAX_DEATHS,
    )


def _least_actors(pool: Pool) -> int:
    """Return to how many actors the pool may shrink while they get no blocks.

    Where a node with CPUs is lost, Ray starts its actors again on the others, and they may take the last CPU that the
    tasks that prepare need: the job would stand still. On one node that cannot happen, and an actor on GPUs finds none.
    """
    nodes = sum(node["Alive"] and node["Resources"].get("CPU", 0) > 0 for node in ray.nodes())
    return pool.size if pool.gpus or nodes < 2 else 1


def _read_and_prepare(
    splits: pa.Table,
    *,
    source: Any,
    shared: Any,
    scorer: ScorerConfig,
    keep_text: bool,
    depth: int | None,
    reporter: CountsReporter | None,
) -> Iterator[pa.Table]:
    """Body of a task: read its splits and prepare them, table by table."""
    fetched: Source = _fetch(source)
    tables = (table for split in splits.to_pylist() for table in read_split(fetched, Split(**split)))
    for table, read_seconds in _read_ahead(tables):
        yield _prepare(table, shared, scorer, keep_text, reporter, depth=depth, read_seconds=read_seconds)


def _prepare_kept(
    table: pa.Table, *, shared: Any, scorer: ScorerConfig, keep_text: bool, reporter: CountsReporter | None
) -> pa.Table:
    """Body of a task: prepare what the stage before kept."""
    return _prepare(table, shared, scorer, keep_text, reporter)


def _prepare(
    table: pa.Table,
    shared: Any,
    scorer: ScorerConfig,
    keep_text: bool,
    reporter: CountsReporter | None,
    *,
    depth: int | None = None,
    read_seconds: float = 0.0,
) -> pa.Table:
    score_lookup, encoder = _fetch(shared)
    encoder = encoder or _load_encoder(scorer)
    lookup = open_snapshot(score_lookup).lookup if score_lookup else None
    splitter = Splitter(encoder, scorer.passages) if scorer.passages else None
    started = perf_counter()
    prepared = prepare(
        table,
        encoder,
        keep_text=keep_text,
        lookup=lookup,
        depth=depth,
        splitter=splitter,
        instruction=scorer.instruction,
    )
    if reporter is not None:
        reporter({"read_seconds": read_seconds, "prepare_seconds": perf_counter() - started})
    return prepared


@lru_cache(maxsize=_STAGES_AT_ONCE)
def _load_encoder(scorer: ScorerConfig) -> PairEncoder:
    """Return the encoder of this model. Raises ModelError if this node has other files than the run began with."""
    encoder = load_encoder(scorer)
    check_content(scorer)
    return encoder


@lru_cache(maxsize=1 + _STAGES_AT_ONCE)
def _fetch(shared: Any) -> Any:
    """Return what all tasks share: the source, or the lookup and the encoder of a stage; a process unpacks it once."""
    return ray.get(shared)


def _read_ahead(tables: Iterator[pa.Table]) -> Iterator[tuple[pa.Table, float]]:
    """Yield the tables, each with the seconds it took to read; a thread reads the next one meanwhile."""

    def read() -> tuple[pa.Table | None, float]:
        started = perf_counter()
        return next(tables, None), perf_counter() - started

    with ThreadPoolExecutor(1) as thread:
        upcoming = thread.submit(read)
        while True:
            table, seconds = upcoming.result()
            if table is None:
                return
            upcoming = thread.submit(read)
            yield table, seconds
