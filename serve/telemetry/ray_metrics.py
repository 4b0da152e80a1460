"""Metrics of all ingress replicas, at the Prometheus endpoint of every Ray node."""

from ray.util.metrics import Counter, Histogram

from serve.telemetry.metrics import BUCKETS, COUNTERS, HISTOGRAMS


class RaySink:
    """Forwards metrics to Ray, which exports them as `ray_rerank_…`."""

    def __init__(self) -> None:
        self._counters = {
            name: Counter(name, description=text, tag_keys=labels) for name, (text, labels) in COUNTERS.items()
        }
        self._histograms = {
            name: Histogram(name, description=text, boundaries=list(BUCKETS), tag_keys=labels)
            for name, (text, labels) in HISTOGRAMS.items()
        }

    def add(self, name: str, amount: float, labels: dict[str, str]) -> None:
        """Add to a counter; Ray raises an error for an amount of 0."""
        if amount > 0:
            self._counters[name].inc(amount, labels)

    def observe(self, name: str, seconds: float, labels: dict[str, str]) -> None:
        """Add a duration to a histogram."""
        self._histograms[name].observe(seconds, labels)
