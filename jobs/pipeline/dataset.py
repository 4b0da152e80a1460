"""The dataset: read and prepare on CPUs, rank on a pool of actors, write staged parts. Knows Ray Data."""

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
from rerank.encoding.tokenizer import load_encoder
from rerank.engines import Engine
from rerank.isolation.attempts import ScoringAttempts
from rerank.prepare import prepare
from rerank.ranking.options import RankingOptions

# Deaths of actors while a block waited or ran: finding a pair that kills takes up to six (`rerank.isolation.isolate`),
# and Ray's own limits are endless, for actors as for tasks.
_MAX_DEATHS = 30
# Blocks that an actor holds, the one that it scores included: what it holds, no idle one can take from it.
_TASKS_IN_FLIGHT = 2


@dataclass(frozen=True, slots=True)
class Pool:
    """Actors to run, and what each reserves on the cluster."""

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
    memory: ScoreLookup | None = None,
    report: CountsReporter | None = None,
    attempts: ScoringAttempts | None = None,
    engine: Engine | None = None,
    encoder: PairEncoder | None = None,
) -> Dataset:
    """The lazy dataset of ranked blocks; see `Reranker.rank_table` for its columns.

    An actor gets blocks of `queries_per_block` queries at least, and of about `block_bytes` bytes where those are more.
    `encoder` is that of `scorer`, None where each process has to load it; `engine` stands in for what `scorer` names.
    """
    dataset = ray.data.from_items([asdict(split) for split in splits], override_num_blocks=len(splits))
    dataset.context.target_max_block_size = block_bytes
    dataset = dataset.map_batches(
        _read_and_prepare,
        fn_kwargs={
            "shared": ray.put((source, memory, encoder)),
            "scorer": scorer,
            "keep_text": keep_text,
            "depth": options.depth,
            "report": report,
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
            "on_block": report.block if report else None,
            "on_progress": report.scored if report else None,
            "store": memory.store if memory else None,
            "after_part": memory.parts[-1].name if memory and memory.parts else "",
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
    report: CountsReporter | None,
) -> Iterator[pa.Table]:
    """Task body: the splits it is given, read and prepared slice by slice."""
    source, memory, encoder = _fetch(shared)
    encoder = encoder or load_encoder(scorer)
    lookup = open_snapshot(memory).lookup if memory else None
    tables = (table for split in splits.to_pylist() for table in read_split(source, Split(**split)))
    for table, read_seconds in _ahead(tables):
        started = perf_counter()
        prepared = prepare(table, encoder, keep_text=keep_text, lookup=lookup, depth=depth)
        if report is not None:
            report({"read_seconds": read_seconds, "prepare_seconds": perf_counter() - started})
        yield prepared


@lru_cache(maxsize=1)
def _fetch(shared: Any) -> tuple[Source, ScoreLookup | None, PairEncoder | None]:
    """What all tasks share, unpacked once in each process."""
    fetched: tuple[Source, ScoreLookup | None, PairEncoder | None] = ray.get(shared)
    return fetched


def _ahead(tables: Iterator[pa.Table]) -> Iterator[tuple[pa.Table, float]]:
    """The tables with the seconds that each took; while one is worked on, a thread reads the next."""

    def read() -> tuple[pa.Table | None, float]:
        started = perf_counter()
        return next(tables, None), perf_counter() - started

    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(read)
        while True:
            table, seconds = coming.result()
            if table is None:
                return
            coming = thread.submit(read)
            yield table, seconds
