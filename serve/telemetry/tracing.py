"""OpenTelemetry traces of requests where an OTLP endpoint is configured; nothing is imported otherwise.

A request is traced when it is finished, from what was recorded about it: the model's replica measures its stages and
batches, and knows nothing of traces.
"""

import logging
import os
from typing import TYPE_CHECKING, Any

from rerank.types import Timings
from serve.telemetry.request_record import STAGES, RequestRecord

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor
    from opentelemetry.trace import Span

_log = logging.getLogger("rerank.serve")

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_SERVICE = "OTEL_SERVICE_NAME"


class Tracing:
    """Makes the spans of finished requests: the request, its stages, and the batches that held its pairs."""

    def __init__(self, processor: "SpanProcessor") -> None:
        """Send the spans to `processor`. OpenTelemetry reads the sampler and further attributes from OTEL_* itself."""
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        provider = TracerProvider(resource=Resource.create({"service.name": os.environ.get(_SERVICE, "rerank")}))
        provider.add_span_processor(processor)
        self._tracer, self.close = provider.get_tracer("rerank"), provider.shutdown
        self._read_parent = TraceContextTextMapPropagator().extract
        self._inside = set_span_in_context
        self._server, self._error = SpanKind.SERVER, Status(StatusCode.ERROR)

    def trace(self, record: RequestRecord) -> None:
        """Make the spans of a request, below the span that its `traceparent` header names, if there is one."""
        attributes: dict[str, Any] = {
            "http.request.method": "POST",
            "http.route": record.path,
            "http.response.status_code": record.status,
            "error.type": record.error,
            "rerank.request_id": record.request_id,
            "rerank.model": record.model,
            "rerank.documents": record.documents,
            "rerank.tokens": record.tokens,
        }
        span = self._tracer.start_span(
            f"POST {record.path}",
            self._read_parent(record.trace_context),
            self._server,
            {name: value for name, value in attributes.items() if value is not None},
            start_time=_nanoseconds(record.arrived_at),
        )
        if span.is_recording():
            if record.status >= 500:
                span.set_status(self._error)
            for timings in record.timings.stages or (record.timings,):
                self._trace_model(span, timings)
        span.end(_nanoseconds(record.arrived_at + record.seconds))

    def _trace_model(self, parent: "Span", timings: Timings) -> None:
        """Make the spans of what a model did; nothing if it did not get the request or did not finish it."""
        if not timings.arrived_at:
            return
        start = timings.arrived_at
        for stage in STAGES:
            end = start + getattr(timings, f"{stage}_s")
            span = self._add(parent, stage, start, end)
            start = end
        for batch in timings.batches:  # in the last stage, which is to score
            times = timings.arrived_at + batch.start_s, timings.arrived_at + batch.end_s
            self._add(span, "batch", *times, {"rerank.pairs": batch.pairs, "rerank.batch_pairs": batch.batch_pairs})

    def _add(
        self, parent: "Span", name: str, start: float, end: float, attributes: dict[str, Any] | None = None
    ) -> "Span":
        span = self._tracer.start_span(
            name, self._inside(parent), attributes=attributes, start_time=_nanoseconds(start)
        )
        span.end(_nanoseconds(end))
        return span


def start_tracing() -> Tracing | None:
    """Return what exports traces to the OTLP endpoint that the environment names; None if it names none."""
    if not any(map(os.environ.get, ENDPOINTS)):
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        _log.warning("no traces: an OTLP endpoint is set, but no exporter is installed; install rerank[tracing]")
        return None
    return Tracing(BatchSpanProcessor(OTLPSpanExporter()))


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1e9)
