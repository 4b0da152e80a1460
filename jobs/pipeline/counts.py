"""Counts that the workers of a run report while it runs, added up in an actor of their own. Knows Ray."""

import resource
import sys
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import ray
from ray.util.metrics import Counter, Gauge
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from xxhash import xxh3_64_hexdigest

from rerank.cascade.handover import STAGE_USAGE, Handover
from rerank.ranking.candidates import CandidateSets, combined
from rerank.ranking.output_columns import REJECTED, USAGE

PEAK = "peak_memory_bytes"
_RSS_UNIT = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, in bytes
_STAGE_PAIRS = "pairs_of_stage_"  # and its number: what it scored or looked up
_REJECTED = "pairs_rejected"
_DONE = ("pairs_ranked", _REJECTED, "queries_without_candidates")  # the input counts such a query as one pair
_COUNTERS = {
    "pairs_scored": "Pairs scored by a model, in all stages.",
    "store_hits": "Pairs whose logits were looked up in the score store.",
    _REJECTED: "Pairs that could not be scored.",
    "engine_seconds": "Seconds that the engines of all actors computed.",
}


def peak_memory() -> int:
    """Return the most memory that this process has held at once, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _RSS_UNIT


@dataclass(frozen=True, slots=True)
class Counts:
    """What was reported until now: pairs that are done, those of them that are rejected, and all sums by name.

    `scoring_seconds` is the time since a worker had its model loaded and began to score, None before;
    `done_before_scoring` are the pairs that were done by then, for their scores were looked up. `actors` is how many
    actors ranked a block, by the stage of a cascade, or for stage 0.
    """

    done: int = 0
    rejected: int = 0
    scoring_seconds: float | None = None
    done_before_scoring: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    actors: dict[int, int] = field(default_factory=dict)

    @property
    def stage_pairs(self) -> list[int]:
        """Return how many pairs each stage of a cascade scored or looked up; empty for a job of one stage."""
        names = sorted(name for name in self.sums if name.startswith(_STAGE_PAIRS))
        return [int(self.sums[name]) for name in names]


class JobMetrics:
    """The metrics of a running job, at the Prometheus endpoint of the node that the counts actor runs on."""

    def __init__(self, job: str) -> None:
        """Label the metrics with Ray's id of this job."""
        self._job = {"job_id": job}
        self._counters = {name: Counter(f"rerank_job_{name}", text, ("job_id",)) for name, text in _COUNTERS.items()}
        self._expected = Gauge("rerank_job_pairs_expected", "Pairs of the input.", ("job_id",))
        self._done = Gauge("rerank_job_pairs_done", "Pairs ranked or rejected until now.", ("job_id",))

    def add(self, counts: dict[str, float]) -> None:
        """Add counts to the counters; Ray raises an error for an amount of 0."""
        for name in self._counters.keys() & counts.keys():
            if counts[name] > 0:
                self._counters[name].inc(counts[name], self._job)

    def progress(self, *, done: int, expected: int) -> None:
        """Set the gauges; Ray forgets one that is not set again within 20 seconds."""
        self._done.set(done, self._job)
        self._expected.set(expected, self._job)


class CountsActor:
    """Adds up what the workers report; lives in the cluster as a Ray actor.

    A block that is ranked again, because a node was lost, counts once. Exports the metrics of `job`, Ray's id of it;
    none if it is None.
    """

    def __init__(self, job: str | None = None) -> None:
        self._metrics = None if job is None else JobMetrics(job)
        self._expected = 0
        self._sums: dict[str, float] = {}
        self._blocks: set[str] = set()
        self._scored: dict[str, int] = {}  # by worker: pairs of the block that it works on
        self._began: tuple[float, int] | None = None
        self._actors: dict[int, set[str]] = {}  # by stage

    def add(self, counts: dict[str, float]) -> None:
        """Add these counts to the sums; of the peak of memory the highest is kept."""
        for name, value in counts.items():
            known = self._sums.get(name, 0)
            self._sums[name] = max(known, value) if name == PEAK else known + value
        if self._metrics is not None:
            self._metrics.add(counts)

    def expect(self, pairs: int) -> None:
        """Note how many pairs the input has, for the metrics."""
        self._expected = pairs

    def add_scored(self, worker: str, pairs: int) -> None:
        """Count pairs of the block that a worker scores; 0 says that it begins with a block."""
        if self._began is None:
            self._began = monotonic(), self._done()
        self._scored[worker] = self._scored.get(worker, 0) + pairs if pairs else 0

    def add_block(self, worker: str, block: str, counts: dict[str, float], stage: int = 0) -> None:
        """Add the counts of a ranked block, unless they were added before."""
        self._scored.pop(worker, None)
        self._actors.setdefault(stage, set()).add(worker)
        if block not in self._blocks:
            self._blocks.add(block)
            self.add(counts)

    def counts(self) -> Counts:
        """Return what was reported until now."""
        if self._metrics is not None:
            self._metrics.progress(done=self._done(), expected=self._expected)
        began, before = self._began or (None, 0)
        return Counts(
            done=self._done(),
            rejected=int(self._sums.get(_REJECTED, 0)),
            scoring_seconds=None if began is None else monotonic() - began,
            done_before_scoring=before,
            sums=dict(self._sums),
            actors={stage: len(workers) for stage, workers in self._actors.items()},
        )

    def _done(self) -> int:
        return int(sum(self._sums.get(name, 0) for name in _DONE)) + sum(self._scored.values())


@dataclass(frozen=True, slots=True)
class CountsReporter:
    """Sends counts from a worker to the counts actor without waiting, with the worker's own peak of memory."""

    counts_actor: Any
    handover: Handover | None = None  # of the stage that the worker belongs to; None in a job of one stage

    def of_stage(self, handover: Handover | None) -> "CountsReporter":
        """Return the reporter for the workers of a stage."""
        return replace(self, handover=handover)

    def __call__(self, counts: dict[str, float]) -> None:
        """Report these counts."""
        self.counts_actor.add.remote({**counts, PEAK: peak_memory()})

    def expect(self, pairs: int) -> None:
        """Report how many pairs the input has."""
        self.counts_actor.expect.remote(pairs)

    def scored(self, pairs: int) -> None:
        """Report that so many more pairs of a block were scored; see `RerankActor`, which calls it.

        A pair is done in the last stage that sees it, and which one that is shows when its block is ranked.
        """
        if not pairs or self.handover is None or self.handover.keep is None:
            self.counts_actor.add_scored.remote(_worker(), pairs)

    def block(self, ranked: pa.Table) -> None:
        """Report a ranked block; see `RerankActor`, which calls it."""
        task_id = ray.get_runtime_context().get_task_id()  # the same when Ray runs the task again
        name = f"{task_id}-{block_digest(ranked)}"
        counts = count(ranked) if self.handover is None else count_stage(ranked, self.handover)
        stage = 0 if self.handover is None else self.handover.stage
        self.counts_actor.add_block.remote(_worker(), name, {**counts, PEAK: peak_memory()}, stage)

    def counts(self) -> Counts:
        """Return what was reported until now, by this process too."""
        self({})
        counts: Counts = ray.get(self.counts_actor.counts.remote())
        return counts


def count_stage(ranked: pa.Table, handover: Handover) -> dict[str, float]:
    """Return the sums over a block that one stage of a cascade ranked: of the pairs that go on, none is done."""
    counts = count(ranked)
    counts[f"{_STAGE_PAIRS}{handover.stage}"] = counts["pairs_scored"] + counts["store_hits"]
    counts["pairs_ranked"] -= int(handover.kept(CandidateSets.from_table(ranked)).sum())
    if handover.stage > 1:
        counts["queries_without_candidates"] = 0  # the first stage counted it, or each of the candidates
    return counts


def start_counting() -> CountsReporter:
    """Start the counts actor; a reporter of it may travel to the workers."""
    # On the driver's node: the counts are lost with the actor's node, but the run ends with the driver's anyway.
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    start = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1, scheduling_strategy=here)
    return CountsReporter(start(CountsActor).remote(ray.get_runtime_context().get_job_id()))


def count(table: pa.Table) -> dict[str, float]:
    """Return sums over a block: ranked and rejected queries and pairs, and the usage of the engine.

    For a cascade they are followed by the usage of each stage, as `stage_usage` names it.
    """
    rejected = combined(table.column(REJECTED)).flatten()
    without_candidates = rejected.field("source_rank").null_count
    usage = dict(zip(table.schema.field(USAGE).type.names, combined(table.column(USAGE)).flatten(), strict=True))
    queries_ranked = pc.sum(pc.greater(usage["pairs_ranked"], 0)).as_py() or 0
    return {
        "queries_ranked": queries_ranked,
        "queries_rejected": table.num_rows - queries_ranked,
        "queries_without_candidates": without_candidates,
        "pairs_rejected": len(rejected) - without_candidates,
        **{name: pc.sum(values).as_py() or 0 for name, values in usage.items()},
        **_count_stages(table),
    }


def stage_usage(stage: int, name: str) -> str:
    """Return the name of a sum over one stage of a cascade, such as stage_1_tokens."""
    return f"stage_{stage}_{name}"


def _count_stages(table: pa.Table) -> dict[str, float]:
    if STAGE_USAGE not in table.column_names or not table.num_rows:
        return {}
    lists = combined(table.column(STAGE_USAGE))
    stages = len(lists) and len(lists[0])  # each query went through all of them
    return {
        stage_usage(stage + 1, field.name): pc.sum(pc.list_element(lists, stage).field(field.name)).as_py() or 0
        for stage in range(stages)
        for field in lists.type.value_type
    }


def block_digest(ranked: pa.Table) -> str:
    """Return a digest of the block's query ids: a task ranks its blocks one after another, each with other queries."""
    return xxh3_64_hexdigest(str(ranked.column("query_id").to_pylist()).encode())


def _worker() -> str:
    """Return an id that an actor keeps when it is started again."""
    return str(ray.get_runtime_context().get_actor_id())
