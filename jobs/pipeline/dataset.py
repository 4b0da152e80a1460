"""The Ray Data pipeline: read and prepare on CPUs, then rank on a pool of actors."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import lru_cache
from time import perf_counter
from typing import Any

import pyarrow as pa
import ray
from ray.data import ActorPoolStrategy, Dataset

from jobs.console import plural
from jobs.input.source import Source
from jobs.input.splits import Split, read_split
from jobs.pipeline.counts import CountsReporter
from jobs.pipeline.score_lookup import ScoreLookup, open_snapshot
from rerank.actor import RerankActor
from rerank.config import ScorerConfig
from rerank.encoding.pairs import PairEncoder
from rerank.encoding.windows import Splitter
from rerank.engines import Engine, load_encoder
from rerank.fingerprint import check_content
from rerank.isolation.attempts import ScoringAttempts
from rerank.prepare import prepare
from rerank.ranking.options import RankingOptions

# How often Ray runs a task again whose process died; by default it does so without end. Finding a pair that kills its
# process takes up to six deaths (`rerank.isolation.isolate`).
_MAX_DEATHS = 30
# Blocks per actor, the one that it scores included. An idle actor cannot take over a block that another one holds.
_TASKS_IN_FLIGHT = 2


@dataclass(frozen=True, slots=True)
class Pool:
    """How many actors to run, and what each of them reserves on the cluster."""

    size: int
    cpus: float
    gpus: float

    def __str__(self) -> str:
        reserved = plural(self.cpus, "CPU") + (f" and {plural(self.gpus, 'GPU')}" if self.gpus else "")
        return f"{plural(self.size, 'actor')} with {reserved}{' each' if self.size > 1 else ''}"


def rank_dataset(
    source: Source,
    splits: list[Split],
    *,
    scorer: ScorerConfig,
    pool: Pool,
    options: RankingOptions,
    queries_per_block: int,
    block_bytes: int,
    keep_text: bool = False,
    score_lookup: ScoreLookup | None = None,
    reporter: CountsReporter | None = None,
    attempts: ScoringAttempts | None = None,
    engine: Engine | None = None,
    encoder: PairEncoder | None = None,
) -> Dataset:
    """Return the lazy dataset of ranked blocks; see `Reranker.rank_table` for its columns.

    Each block has at least `queries_per_block` queries, and about `block_bytes` bytes if that is more.
    `encoder` belongs to `scorer`; without it each process loads its own. `engine` replaces the one that `scorer` names.
    """
    dataset = ray.data.from_items([asdict(split) for split in splits], override_num_blocks=len(splits))
    dataset.context.target_max_block_size = block_bytes
    dataset = dataset.map_batches(
        _read_and_prepare,
        fn_kwargs={
            "shared": ray.put((source, score_lookup, encoder)),
            "scorer": scorer,
            "keep_text": keep_text,
            "depth": options.depth,
            "reporter": reporter,
        },
        batch_size=1,
        batch_format="pyarrow",
        num_cpus=1,
        udf_modifying_row_count=True,
        max_retries=_MAX_DEATHS,
    )
    return dataset.map_batches(
        RerankActor,
        fn_constructor_args=[scorer],
        fn_constructor_kwargs={
            "options": options,
            "on_block": reporter.block if reporter else None,
            "on_progress": reporter.scored if reporter else None,
            "store": score_lookup.store if score_lookup else None,
            "after_part": score_lookup.parts[-1].name if score_lookup and score_lookup.parts else "",
            "attempts": attempts,
            "preload": False,
            "engine": engine,
            "encoder": encoder,
        },
        compute=ActorPoolStrategy(size=pool.size, max_tasks_in_flight_per_actor=_TASKS_IN_FLIGHT),
        batch_size=queries_per_block,
        batch_format="pyarrow",
        num_cpus=pool.cpus,
        num_gpus=pool.gpus or None,
        udf_modifying_row_count=False,
        max_task_retries=_MAX_DEATHS,
    )


def _read_and_prepare(
    splits: pa.Table,
    *,
    shared: Any,
    scorer: ScorerConfig,
    keep_text: bool,
    depth: int | None,
    reporter: CountsReporter | None,
) -> Iterator[pa.Table]:
    """Body of a task: read its splits and prepare them, table by table."""
    source, score_lookup, encoder = _fetch_shared(shared)
    encoder = encoder or _load_encoder(scorer)
    lookup = open_snapshot(score_lookup).lookup if score_lookup else None
    splitter = Splitter(encoder, scorer.passages) if scorer.passages else None
    tables = (table for split in splits.to_pylist() for table in read_split(source, Split(**split)))
    for table, read_seconds in _read_ahead(tables):
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
        yield prepared


@lru_cache(maxsize=1)
def _load_encoder(scorer: ScorerConfig) -> PairEncoder:
    """Return the encoder of this model. Raises ModelError if this node has other files than the run began with."""
    encoder = load_encoder(scorer)
    check_content(scorer)
    return encoder


@lru_cache(maxsize=1)
def _fetch_shared(shared: Any) -> tuple[Source, ScoreLookup | None, PairEncoder | None]:
    """Return what all tasks share; each process unpacks it once."""
    fetched: tuple[Source, ScoreLookup | None, PairEncoder | None] = ray.get(shared)
    return fetched


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
