"""The Prometheus metrics of the server; sinks store or forward their values."""

from collections.abc import Sequence
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from serve.telemetry.request_record import RequestRecord

COUNTERS = {
    "rerank_requests": ("Requests by path, model and status.", ("path", "model", "status")),
    "rerank_documents": ("Documents ranked, and texts encoded.", ("model",)),
    "rerank_tokens": ("Tokens read, special tokens included.", ("model",)),
    "rerank_retries": ("Requests sent once more, because a replica lost them.", ("model",)),
    "rerank_shadow_requests": (
        "Requests in the share of a shadow by outcome: scored, dropped because it was busy, or failed.",
        ("model", "shadow", "outcome"),
    ),
}
HISTOGRAMS = {
    "rerank_request_seconds": ("Seconds from the first byte of the request body to the response.", ("path", "model")),
    "rerank_stage_seconds": ("Seconds in a stage: tokenize, queue or score.", ("model", "stage")),
    "rerank_shadow_top_10_overlap": (
        "Share of the top 10 of an answer that the shadow has in its top 10, too.",
        ("model", "shadow"),
    ),
    "rerank_shadow_discordant_pairs": (
        "Share of the document pairs of an answer that the shadow orders differently: Kendall's tau is 1 - 2 times it.",
        ("model", "shadow"),
    ),
    "rerank_shadow_logit_difference": (
        "Mean absolute difference between the logits of an answer and those of the shadow.",
        ("model", "shadow"),
    ),
}
GAUGES = {
    "rerank_keys_file_errors": "Lines of the keys file that are not valid and ignored; 1 if the file cannot be read.",
}
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_SHARES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
_OTHER_BUCKETS = {
    "rerank_shadow_top_10_overlap": _SHARES,
    "rerank_shadow_discordant_pairs": _SHARES,
    "rerank_shadow_logit_difference": (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0),
}


def buckets_of(histogram: str) -> tuple[float, ...]:
    """Return the upper bounds of a histogram's buckets, all above 0 as Ray requires: in seconds unless listed."""
    return _OTHER_BUCKETS.get(histogram, BUCKETS)


class Sink(Protocol):
    """Receives the values of metrics."""

    def add(self, name: str, amount: float, labels: dict[str, str]) -> None:
        """Add to a counter."""
        ...

    def observe(self, name: str, value: float, labels: dict[str, str]) -> None:
        """Add a value to a histogram."""
        ...

    def set(self, name: str, value: float) -> None:
        """Set a gauge."""
        ...


def measure(record: RequestRecord, sink: Sink) -> None:
    """Send the metrics of a finished request to `sink`."""
    model = {"model": record.model or ""}
    sink.add("rerank_requests", 1, {"path": record.path, **model, "status": str(record.status)})
    sink.observe("rerank_request_seconds", record.seconds, {"path": record.path, **model})
    if record.status == 200:
        sink.add("rerank_documents", record.documents, model)
        sink.add("rerank_tokens", record.tokens, model)
    for stage, seconds in record.stages.items():
        sink.observe("rerank_stage_seconds", seconds, {**model, "stage": stage})


def count_retry(model: str, sinks: Sequence[Sink]) -> None:
    """Count a request that is sent to a model once more."""
    for sink in sinks:
        sink.add("rerank_retries", 1, {"model": model})


class LocalSink:
    """Keeps the metrics of this process, for GET /metrics."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._counters = {
            name: Counter(name, text, labels, registry=self._registry) for name, (text, labels) in COUNTERS.items()
        }
        self._histograms = {
            name: Histogram(name, text, labels, registry=self._registry, buckets=buckets_of(name))
            for name, (text, labels) in HISTOGRAMS.items()
        }
        self._gauges = {name: Gauge(name, text, registry=self._registry) for name, text in GAUGES.items()}

    def add(self, name: str, amount: float, labels: dict[str, str]) -> None:
        """Add to a counter."""
        self._counters[name].labels(**labels).inc(amount)

    def observe(self, name: str, value: float, labels: dict[str, str]) -> None:
        """Add a value to a histogram."""
        self._histograms[name].labels(**labels).observe(value)

    def set(self, name: str, value: float) -> None:
        """Set a gauge."""
        self._gauges[name].set(value)

    def text(self) -> bytes:
        """Return the metrics in the Prometheus text format."""
        return generate_latest(self._registry)
