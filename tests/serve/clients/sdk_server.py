"""A server over models without weights, for SDKs to talk to: `length` (also `org/length`) ranks, `full` refuses."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn

sys.path.insert(0, str(Path(__file__).parents[3]))

from jobs.bench.server.process import free_port
from rerank.errors import OverloadedError
from serve.http.api import create_api
from serve.http.endpoint import Server
from serve.keys import ApiKeys
from serve.models import Models
from tests.serve.standins import LengthScorer


@contextmanager
def running() -> Iterator[str]:
    """Serve in a thread of this process; the only key is `secret`."""
    full = LengthScorer(failure=OverloadedError("the queue is full", retry_after_s=1))
    models = Models({"length": LengthScorer(), "full": full}, {"org/length": "length"})
    api = create_api(Server(models, api_keys=ApiKeys(fixed={"me": "secret"})))
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(api, port=port, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        thread.join(0.02)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(10)
