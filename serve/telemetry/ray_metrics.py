"""Metrics of all replicas, of the ingress and of the models, at the Prometheus endpoint of every Ray node."""

from dataclasses import dataclass
from functools import cache

from ray.util.metrics import Counter, Gauge, Histogram

from rerank.types import BatchReport
from serve.telemetry.metrics import BUCKETS, COUNTERS, GAUGES, HISTOGRAMS, buckets_of

_PAIRS_BUCKETS = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096]


class RaySink:
    """Forwards metrics to Ray, which exports them as `ray_rerank_…`."""

    def __init__(self) -> None:
        self._counters = {
            name: Counter(name, description=text, tag_keys=labels) for name, (text, labels) in COUNTERS.items()
        }
        self._histograms = {
            name: Histogram(name, description=text, boundaries=list(buckets_of(name)), tag_keys=labels)
            for name, (text, labels) in HISTOGRAMS.items()
        }
        self._gauges = {name: Gauge(name, description=text) for name, text in GAUGES.items()}

    def add(self, name: str, amount: float, labels: dict[str, str]) -> None:
        """Add to a counter; Ray raises an error for an amount of 0."""
        if amount > 0:
            self._counters[name].inc(amount, labels)

    def observe(self, name: str, value: float, labels: dict[str, str]) -> None:
        """Add a value to a histogram."""
        self._histograms[name].observe(value, labels)

    def set(self, name: str, value: float) -> None:
        """Set a gauge."""
        self._gauges[name].set(value)


class BatchMetrics:
    """The metrics of a model's replica."""

    def __init__(self) -> None:
        model = ("model",)
        self.scored = Counter("rerank_scored_pairs", "Pairs of all batches, or texts to encode.", model)
        self.pairs = Histogram(
            "rerank_batch_pairs", "Pairs of a batch, or texts to encode.", boundaries=_PAIRS_BUCKETS, tag_keys=model
        )
        self.seconds = Histogram(
            "rerank_batch_seconds", "Seconds to compute a batch.", boundaries=list(BUCKETS), tag_keys=model
        )
        self.waiting = Gauge("rerank_waiting_pairs", "Unfinished pairs of a replica, after a batch.", tag_keys=model)


@cache
def _batch_metrics() -> BatchMetrics:
    return BatchMetrics()


@dataclass(frozen=True, slots=True)
class BatchReporter:
    """Forwards what a replica of this model reports of its batches to Ray; travels to the replica by pickling."""

    model: str

    def __call__(self, batch: BatchReport) -> None:
        """Measure a batch; see `RerankActor`, which calls it."""
        metrics, model = _batch_metrics(), {"model": self.model}
        metrics.scored.inc(batch.pairs, model)  # Ray's histograms have sums of their buckets' middles
        metrics.pairs.observe(batch.pairs, model)
        metrics.seconds.observe(batch.seconds, model)
        metrics.waiting.set(batch.waiting_pairs, model)
