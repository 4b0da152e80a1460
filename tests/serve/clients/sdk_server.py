"""A server over models without weights, for SDKs to talk to: `length` (also `org/length`) ranks, `full` refuses."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))

from rerank.errors import OverloadedError
from serve.http.api import create_api
from serve.http.endpoint import Server
from serve.keys import ApiKeys
from serve.models import Models
from tests.serve.standins import LengthScorer, in_a_thread


@contextmanager
def running(*, needs_key: bool = True) -> Iterator[str]:
    """Serve in a thread of this process; the only key is `secret`, if one is needed."""
    full = LengthScorer(failure=OverloadedError("the queue is full", retry_after_s=1))
    models = Models({"length": LengthScorer(), "full": full}, {"org/length": "length"})
    api = create_api(Server(models, api_keys=ApiKeys(fixed={"me": "secret"}) if needs_key else None))
    with in_a_thread(api) as url:
        yield url
