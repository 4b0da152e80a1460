"""Traces: where an OTLP endpoint is configured a request becomes spans, below the span of its caller."""

import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from rerank.errors import ModelError
from rerank.types import BatchTiming, Timings
from serve.http.endpoint import Server
from serve.models import Models
from serve.telemetry import tracing
from serve.telemetry.tracing import ENDPOINTS, Tracing, start_tracing
from tests.serve.standins import LengthScorer, calling

ROOT = Path(__file__).parents[3]
TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
BODY = {"query": "secret question", "documents": ["four", "sixsix"]}
BATCHES = (BatchTiming(0.3, 0.5, 1, 9), BatchTiming(0.5, 0.9, 1, 1))


@pytest.fixture
def spans() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def call(scorer: LengthScorer, spans: InMemorySpanExporter) -> Any:
    return calling(Server(Models({"length": scorer}), tracing=Tracing(SimpleSpanProcessor(spans))))


def traceparent(flags: str = "01") -> dict[str, str]:
    return {"traceparent": f"00-{TRACE}-{CALLER}-{flags}"}


def tree(spans: InMemorySpanExporter) -> dict[str, tuple[str | None, int]]:
    """The name of each span's parent, and its milliseconds; batches are numbered."""
    finished = sorted(spans.get_finished_spans(), key=lambda span: span.start_time or 0)
    names = {span.context.span_id: span.name for span in finished}
    return {
        f"{span.name} {number}": (
            names.get(span.parent.span_id, f"{span.parent.span_id:x}") if span.parent else None,
            milliseconds(span),
        )
        for number, span in enumerate(finished)
    }


def milliseconds(span: ReadableSpan) -> int:
    return round(((span.end_time or 0) - (span.start_time or 0)) / 1e6)


def test_a_request_its_stages_and_its_batches_are_spans_of_the_callers_trace(call, scorer, spans):
    scorer.timings = Timings(0.1, 0.2, 0.6, arrived_at=4e9, batches=BATCHES)
    assert call("/v1/rerank", json=BODY, headers=traceparent()).status_code == 200
    assert {f"{span.context.trace_id:032x}" for span in spans.get_finished_spans()} == {TRACE}
    request = "POST /v1/rerank"
    (server,) = (span for span in spans.get_finished_spans() if span.name == request)
    shown = tree(spans)
    assert shown.pop(f"{request} 0")[0] == CALLER
    assert shown == {
        "tokenize 1": (request, 100),
        "queue 2": (request, 200),
        "score 3": (request, 600),
        "batch 4": ("score", 200),
        "batch 5": ("score", 400),
    }
    attributes = dict(server.attributes or {})
    assert attributes.pop("rerank.request_id").startswith("rerank-")
    assert attributes == {
        "http.request.method": "POST",
        "http.route": "/v1/rerank",
        "http.response.status_code": 200,
        "rerank.model": "length",
        "rerank.documents": 2,
        "rerank.tokens": 10,
    }
    assert server.resource.attributes["service.name"] == "rerank"


def test_the_stages_of_a_cascade_follow_each_other(call, scorer, spans):
    stages = (Timings(0.1, 0.2, 0.6, 4e9), Timings(0.1, 0.2, 0.6, 4e9 + 1))
    scorer.timings = Timings(0.2, 0.4, 1.2, stages=stages)
    call("/v1/rerank", json=BODY)
    assert [name.split()[0] for name in tree(spans)] == ["POST", *2 * ("tokenize", "queue", "score")]


def test_a_request_that_fails_is_a_span_with_its_error(call, scorer, spans):
    scorer.failure = ModelError("broken")
    call("/v1/rerank", json=BODY)
    (span,) = spans.get_finished_spans()
    assert not span.status.is_ok and span.attributes["error.type"] == "model"
    assert span.parent is None


def test_a_caller_that_samples_nothing_gets_no_spans(call, spans):
    call("/v1/rerank", json=BODY, headers=traceparent("00"))
    assert not spans.get_finished_spans()


@pytest.fixture
def receiver() -> Iterator[tuple[str, list[ExportTraceServiceRequest]]]:
    """The address of an OTLP receiver in a thread, and what it received."""
    received: list[ExportTraceServiceRequest] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Receiver) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", received
        server.shutdown()
        thread.join()


def test_spans_are_sent_where_the_environment_says(receiver, scorer, monkeypatch):
    address, received = receiver
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", address)
    exporting = start_tracing()
    assert exporting is not None
    calling(Server(Models({"length": scorer}), tracing=exporting))("/v1/rerank", json=BODY)
    exporting.close()
    (resource,) = received[0].resource_spans
    assert [span.name for scope in resource.scope_spans for span in scope.spans] == ["POST /v1/rerank"]
    assert b"secret" not in received[0].SerializeToString()


def test_without_an_endpoint_nothing_is_imported():
    """FastAPI imports OpenTelemetry's interfaces itself where they are installed, and Ray Serve more than those."""
    code = (
        "import sys, serve.telemetry.tracing as tracing\n"
        "assert tracing.start_tracing() is None and 'opentelemetry' not in sys.modules\n"
        "import serve.http.api\n"
        "print([name for name in sys.modules if name.startswith(('opentelemetry.sdk', 'opentelemetry.exporter'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env={}, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_without_the_exporter_there_is_a_warning_that_says_what_to_install(monkeypatch, caplog):
    monkeypatch.setenv(ENDPOINTS[1], "http://localhost:4318")
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    monkeypatch.setattr(tracing._log, "propagate", True)
    assert start_tracing() is None
    assert "install rerank[tracing]" in caplog.text
