"""The metrics that both shells export through Ray, with their labels, and what a PromQL expression uses of them."""

import re
from collections.abc import Iterator, Mapping

from ray.dashboard.modules.reporter.reporter_agent import METRICS_GAUGES
from ray.util.metrics import Counter, Histogram

from jobs.pipeline.counts import JobMetrics
from serve.telemetry.ray_metrics import BatchMetrics, RaySink

OF_RAY = {f"ray_{name}" for name in METRICS_GAUGES} | {
    "ray_actors",  # of its C++ core
    "ray_serve_deployment_replica_starts_total",
}
_FROM_THE_SCRAPE = {"le", "WorkerId", "instance"}
_SERIES = re.compile(r"\b(ray_\w+)(?:\{(.*?)\})?")
_LABEL = re.compile(r"(\w+) ?(?:=~|!~|!=|=)")


def exported() -> Mapping[str, set[str]]:
    """The labels of each series, by its name at Ray's Prometheus endpoint."""
    series = {}
    for metric in metrics(RaySink(), BatchMetrics(), JobMetrics("1")):
        name, labels = f"ray_{metric.info['name']}", {*metric.info["tag_keys"]}
        if isinstance(metric, Histogram):  # not its sum, which Ray takes from the middles of its buckets
            series |= {f"{name}_bucket": labels, f"{name}_count": labels}
        else:
            series[f"{name}_total" if isinstance(metric, Counter) else name] = labels
    return series


def metrics(*owners: object) -> Iterator[Counter]:
    """Ray's metrics among the attributes of objects, and in their dictionaries."""
    for owner in owners:
        for value in vars(owner).values():
            values = value.values() if isinstance(value, dict) else [value]
            yield from (each for each in values if hasattr(each, "info"))


def check_expression(expression: str) -> None:
    """Fail where an expression uses a series or a label that nobody exports."""
    known = exported()
    used = _SERIES.findall(expression)
    assert used or expression.startswith("up{"), expression
    for name, matchers in used:
        assert name in known or name in OF_RAY, f"nobody exports {name}"
        if name in known:
            unknown = {*_LABEL.findall(matchers)} - known[name] - _FROM_THE_SCRAPE
            assert not unknown, f"{name} has no label {unknown}"
