"""Everything recorded about a finished request: for the access log, the metrics and the Server-Timing header."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from time import perf_counter, time

from rerank.types import EncodeResult, RerankResult, Timings

_access = logging.getLogger("rerank.access")

STAGES = ("tokenize", "queue", "score")


@dataclass(slots=True)
class RequestRecord:
    """One request, without its texts and API key.

    `trace_context` are its headers `traceparent` and `tracestate`: https://www.w3.org/TR/trace-context/. `stages` holds
    seconds, and `timings` are the model's own.
    """

    request_id: str
    path: str
    trace_context: Mapping[str, str] = field(default_factory=dict)
    key_name: str | None = None  # never the API key itself
    model: str | None = None  # the public name, once the model is found
    documents: int = 0  # or texts to encode
    body_bytes: int = 0  # that the server holds now
    tokens: int = 0
    status: int = 200
    error: str | None = None  # the error's code
    stages: dict[str, float] = field(default_factory=dict)
    timings: Timings = field(default_factory=Timings)
    arrived_at: float = field(default_factory=time)  # in seconds since 1970
    started: float = field(default_factory=perf_counter)
    seconds: float = 0.0

    def computed(self, result: RerankResult | EncodeResult) -> None:
        """Record the tokens and timings of a ranking, or of vectors."""
        self.tokens, self.timings = result.tokens, result.timings
        for stage in STAGES:
            self.stages[stage] = getattr(result.timings, f"{stage}_s")

    def close(self, status: int, error: str | None) -> None:
        """Record the outcome, and write one line to the access log: a JSON object."""
        self.status, self.error, self.seconds = status, error, perf_counter() - self.started
        line = {
            "request_id": self.request_id,
            "path": self.path,
            "status": status,
            "ms": round(self.seconds * 1000, 1),
            "model": self.model,
            "documents": self.documents,
            "tokens": self.tokens,
            **{f"{stage}_ms": round(seconds * 1000, 1) for stage, seconds in self.stages.items()},
            "key": self.key_name,
            "error": error,
        }
        _access.info(json.dumps({name: value for name, value in line.items() if value is not None}))

    @property
    def server_timing(self) -> str:
        """Milliseconds by stage, as a Server-Timing header: https://www.w3.org/TR/server-timing/."""
        stages = {**self.stages, "total": perf_counter() - self.started}
        return ", ".join(f"{stage};dur={seconds * 1000:.1f}" for stage, seconds in stages.items())
