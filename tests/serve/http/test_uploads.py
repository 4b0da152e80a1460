"""Request bodies that come slowly, or not to their end."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator

import pytest

from serve.http.api import create_api
from serve.http.endpoint import Server
from serve.http.limits import Limits
from serve.models import Models
from tests.serve.asgi import upload
from tests.serve.standins import LengthScorer

BODY = json.dumps({"query": "q", "documents": ["four", "sixsix"]}).encode()


@pytest.fixture
def server(scorer: LengthScorer) -> Server:
    return Server(Models({"length": scorer}), Limits(timeout_s=0.3))


async def trickled(content: bytes, pause_s: float = 0.01) -> AsyncIterator[bytes]:
    """Pieces of a body with pauses, then an end that does not come."""
    for byte in content:
        yield bytes([byte])
        await asyncio.sleep(pause_s)
    await asyncio.Event().wait()


@pytest.mark.parametrize("path", ["/v1/rerank", "/rerank", "/score", "/v1/score/length", "/v1/reranking"])
def test_a_trickled_upload_has_a_deadline(server, scorer, path):
    asked = {"Accept": "application/json"}
    status, headers, body = asyncio.run(upload(create_api(server), path, trickled(BODY), headers=asked))
    assert (status, headers["connection"]) == (408, "close")
    assert b"the request body did not arrive within 0.3 seconds" in body
    assert scorer.asked == []


def test_the_caller_s_deadline_counts_from_the_first_byte(scorer):
    server = Server(Models({"length": scorer}))
    asked = {"X-Request-Timeout": "0.05"}
    status, *_ = asyncio.run(upload(create_api(server), "/v1/rerank", trickled(BODY), headers=asked))
    assert status == 408


def test_the_model_has_the_time_that_the_upload_left(scorer):
    server = Server(Models({"length": scorer}), Limits(timeout_s=0.6))

    async def slow() -> AsyncIterator[bytes]:
        yield BODY[:10]
        await asyncio.sleep(0.15)
        yield BODY[10:]

    scorer.seconds = 10
    status, _, body = asyncio.run(upload(create_api(server), "/v1/rerank", slow()))
    assert status == 504 and scorer.asked[0].timeout_s <= 0.5
    assert json.loads(body)["message"] == "the answer was not ready within 0.6 seconds"


@pytest.mark.parametrize("pieces", [[], [BODY[:20]], [BODY]], ids=["nothing", "half", "all but the end"])
def test_an_aborted_upload_is_499_and_one_line(server, scorer, caplog, pieces):
    caplog.set_level(logging.INFO)
    asyncio.run(upload(create_api(server), "/v1/rerank", pieces, leaves=True))
    (line,) = [record for record in caplog.records if record.name.startswith("rerank")]
    assert json.loads(line.getMessage())["status"] == 499 and line.exc_info is None
    requests = [name for name in server.local.text().decode().splitlines() if name.startswith("rerank_requests_total")]
    assert requests == ['rerank_requests_total{model="",path="/v1/rerank",status="499"} 1.0']
    assert scorer.asked == []
