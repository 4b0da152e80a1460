import asyncio
import time

import pytest

from rerank.errors import OverloadedError
from serve.http.limits import Limits

BODY = {"query": "q", "documents": ["four", "sixsix"]}


@pytest.fixture
def limits():
    return Limits(body_bytes=400, documents=3, text_characters=20, timeout_s=5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"documents": ["a"] * 4}, "documents must hold at most 3 entries, got 4"),
        ({"documents": ["a", "b" * 21]}, "documents[1] must hold at most 20 characters, got 21"),
        ({"query": "b" * 21}, "query must hold at most 20 characters, got 21"),
    ],
)
def test_what_is_too_long_is_refused_with_its_field(client, scorer, change, message):
    answer = client("/v1/rerank", json={**BODY, **change})
    assert (answer.status_code, answer.json()["message"]) == (400, message)
    assert scorer.asked == []


def test_tei_s_clients_get_its_own_status_and_field_name(client):
    answer = client("/rerank", json={"query": "q", "texts": ["a"] * 4})
    assert answer.status_code == 413
    assert answer.json()["error"] == "texts must hold at most 3 entries, got 4"


def test_a_large_body_is_refused_by_its_declared_and_by_its_real_size(client, scorer):
    async def chunks():
        for _ in range(10):
            yield b" " * 50

    declared = client("/v1/rerank", content=b" " * 401)
    message = "request body must hold at most 400 bytes, got"
    assert (declared.status_code, declared.json()["message"]) == (413, f"{message} 401")
    streamed = client("/v1/rerank", content=chunks())
    assert (streamed.status_code, streamed.json()["message"]) == (413, f"{message} more")


def test_a_full_queue_is_429_with_retry_after(client, scorer):
    scorer.failure = OverloadedError("full", retry_after_s=7)
    for path, body in (("/v1/rerank", BODY), ("/rerank", {"query": "q", "texts": ["a"]})):
        answer = client(path, json=body)
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "7")
        assert answer.json()["detail"] == "full"


def test_the_caller_s_deadline_is_504_and_cancels_the_work(client, scorer):
    scorer.seconds = 10
    started = time.perf_counter()
    answer = client("/v1/rerank", json=BODY, headers={"X-Request-Timeout": "0.05"})
    assert answer.status_code == 504
    assert answer.json()["message"] == "the answer was not ready within 0.05 seconds"
    assert time.perf_counter() - started < 5
    assert isinstance(scorer.left, asyncio.CancelledError)


@pytest.mark.parametrize(("asked", "given"), [(None, 5), ("2.5", 2.5), ("3600", 5)])
def test_the_model_is_told_the_deadline_and_never_more_than_the_server_s(client, scorer, asked, given):
    client("/v1/rerank", json=BODY, headers={} if asked is None else {"X-Request-Timeout": asked})
    assert scorer.asked[0].timeout_s == given


@pytest.mark.parametrize("asked", ["0", "-1", "soon", "nan"])
def test_a_deadline_must_be_a_number_above_zero(client, scorer, asked):
    answer = client("/v1/rerank", json=BODY, headers={"X-Request-Timeout": asked})
    message = f"X-Request-Timeout must be a number of seconds above 0, got {asked!r}"
    assert (answer.status_code, answer.json()["message"]) == (400, message)
    assert scorer.asked == []


def test_one_failing_ranking_of_several_fails_the_answer(client, scorer):
    scorer.failure = OverloadedError("full")
    assert client("/score", json={"queries": ["p", "q"], "documents": ["a", "b"]}).status_code == 429
