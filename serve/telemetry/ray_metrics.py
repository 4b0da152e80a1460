"""Metrics of all ingress replicas, at the Prometheus endpoint of every Ray node."""

from ray.util.metrics import Counter, Gauge, Histogram

from serve.telemetry.metrics import COUNTERS, GAUGES, HISTOGRAMS, buckets_of


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
