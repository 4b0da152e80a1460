"""What a replica reports of its batches is exported by Ray, wherever the report was made for."""

import pickle

import pytest
from ray.util.metrics import Metric

from rerank.types import BatchReport
from serve.telemetry.metrics import LocalSink, count_retry
from serve.telemetry.ray_metrics import BatchReporter


def test_batches_are_metrics_of_their_model(monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = {}

    def record(metric: Metric, value: float, tags: dict[str, str]) -> None:
        recorded[metric.info["name"]] = value, tags

    monkeypatch.setattr(Metric, "_record", record)
    reporter = pickle.loads(pickle.dumps(BatchReporter("m")))
    reporter(BatchReport(pairs=20, seconds=0.5, waiting_pairs=34))
    assert recorded == {
        "rerank_scored_pairs": (20, {"model": "m"}),
        "rerank_batch_pairs": (20, {"model": "m"}),
        "rerank_batch_seconds": (0.5, {"model": "m"}),
        "rerank_waiting_pairs": (34, {"model": "m"}),
    }


def test_retries_are_counted_by_model() -> None:
    sink = LocalSink()
    for _ in range(2):
        count_retry("m", [sink])
    assert b'rerank_retries_total{model="m"} 2.0' in sink.text()
