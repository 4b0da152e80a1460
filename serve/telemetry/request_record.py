"""What is known of a request once it is answered: for the log, the metrics and the Server-Timing header."""

import json
import logging
from dataclasses import dataclass, field
from time import perf_counter

from rerank.types import RerankResult

_access = logging.getLogger("rerank.access")

STAGES = ("tokenize", "queue", "score")


@dataclass(slots=True)
class RequestRecord:
    """One request; never a text, nor a key. Stages are seconds, the slowest ranking's where there are several."""

    request_id: str
    path: str
    key: str | None = None  # the name of the key
    model: str | None = None  # as public name, once it is found
    documents: int = 0
    tokens: int = 0
    status: int = 200
    error: str | None = None  # the code of the error
    stages: dict[str, float] = field(default_factory=dict)
    started: float = field(default_factory=perf_counter)
    seconds: float = 0.0

    def ranked(self, results: tuple[RerankResult, ...]) -> None:
        """Note what the model did."""
        self.tokens = sum(result.tokens for result in results)
        for stage in STAGES:
            self.stages[stage] = max(getattr(result.timings, f"{stage}_s") for result in results)

    def close(self, status: int, error: str | None) -> None:
        """Note how it ended, and write the access log: a JSON object a line."""
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
            "key": self.key,
            "error": error,
        }
        _access.info(json.dumps({name: value for name, value in line.items() if value is not None}))

    @property
    def server_timing(self) -> str:
        """Milliseconds by stage: https://www.w3.org/TR/server-timing/."""
        stages = {**self.stages, "total": perf_counter() - self.started}
        return ", ".join(f"{stage};dur={seconds * 1000:.1f}" for stage, seconds in stages.items())
