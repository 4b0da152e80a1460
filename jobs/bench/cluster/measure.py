"""Measure a job on a cluster of this machine whose GPUs are made up, with engines that sleep."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ray.cluster_utils import Cluster

from jobs.bench.cluster.cpu import cpu_between, sampled_cpu
from jobs.bench.cluster.engine import SleepingEngine, read_batches, throughput
from jobs.bench.pipeline import FreeEncoder, write_pairs
from jobs.pipeline.job import RunConfig, run
from jobs.pipeline.stages.pool_settings import ActorRange, PoolSettings
from rerank.config import ScorerConfig

_WORDS_PER_TEXT = 20
_OBJECT_STORE_BYTES = 2 << 30
_BLOCKS_PER_ROW_GROUP = 4
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Workload:
    """What each engine does: `rate` pairs of `tokens` tokens per second, in blocks of `block_seconds`.

    `preparing` is the number of tasks that may read and prepare at the same time.
    """

    rate: float
    tokens: int
    block_seconds: float
    preparing: int

    @property
    def block_pairs(self) -> int:
        """Return the number of pairs in a block: whole queries of 100."""
        return max(1, round(self.rate * self.block_seconds / 100)) * 100


def measure(folder: Path, workload: Workload, *, engines: int, pairs: int) -> Row:
    """Return the throughput of a job over so many pairs, and the CPU cores it used; files are written to `folder`."""
    source, notes = folder / f"in-{pairs}.parquet", folder / f"batches-{engines}"
    notes.mkdir()
    if not source.exists():
        write_pairs(
            source,
            pairs,
            words_per_text=_WORDS_PER_TEXT,
            row_group=_BLOCKS_PER_ROW_GROUP * workload.block_pairs,
        )
    config = RunConfig(
        source=str(source),
        output=str(folder / f"out-{engines}"),
        scorer=ScorerConfig(batch_tokens=1 << 16),
        pool=PoolSettings(actors=ActorRange(engines, engines)),
        block_pairs=workload.block_pairs,
    )
    with sampled_cpu() as samples, _cluster(engines, workload.preparing) as address:
        summary = run(
            replace(config, address=address),
            engine=SleepingEngine(notes, engines, workload.rate),
            encoder=FreeEncoder(tokens=workload.tokens),
        )
    measured = throughput(read_batches(notes), workload.rate)
    cpu = cpu_between(samples, measured.began, measured.ended)
    return {
        "engines": engines,
        "pairs": summary["pairs_ranked"],
        "seconds": measured.ended - measured.began,
        "pairs_per_second": measured.pairs_per_second,
        "efficiency": measured.efficiency,
        "efficiency_with_tail": measured.efficiency_with_tail,
        "cores": cpu.ours,
        "cores_of_others": cpu.others,
        "cpu_ms_per_pair": 1_000 * cpu.ours / measured.pairs_per_second,
        "driver_ms_per_block": 1_000 * cpu.driver * workload.block_pairs / measured.pairs_per_second,
        "prepare_ms_per_pair": 1_000
        * (summary["seconds"]["prepare"] + summary["seconds"]["read"])
        / summary["pairs_ranked"],
        "total_seconds": summary["seconds"]["total"],
    }


@contextmanager
def _cluster(engines: int, preparing: int) -> Iterator[str]:
    """Start a node with as many GPUs as engines, which this machine need not have; yield its address."""
    node = {
        "num_cpus": engines + preparing,
        "num_gpus": engines,
        "object_store_memory": _OBJECT_STORE_BYTES,
        "include_dashboard": False,
    }
    os.environ.setdefault("RAY_worker_niceness", "0")  # else all other processes of the machine go first
    cluster = Cluster(initialize_head=True, head_node_args=node)
    try:
        yield cluster.address
    finally:
        cluster.shutdown()
