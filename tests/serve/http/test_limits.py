import asyncio
import json
import time

import httpx
import msgpack
import pytest
from hypothesis import given

from rerank.errors import OverloadedError
from serve.http import codec
from serve.http.api import create_api
from serve.http.endpoint import Server
from serve.http.limits import Limits
from serve.models import Models
from serve.wires import read
from tests.serve.bodies import anything, spelled
from tests.serve.standins import LengthScorer, calling

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


LARGE = calling(Server(Models({"length": LengthScorer()}, {})))
REPEATED = ["t"] * 40_000
SMALL_THAT_BECOME_LARGE = {
    "repeated rank_fields": ("/v1/rerank", {"documents": [{"t": "x" * 8_000}], "rank_fields": REPEATED}),
    "repeated rank_fields of Mixedbread": ("/v1/reranking", {"input": [{"t": "x" * 8_000}], "rank_fields": REPEATED}),
}


@pytest.mark.parametrize(("path", "body"), SMALL_THAT_BECOME_LARGE.values(), ids=SMALL_THAT_BECOME_LARGE)
def test_names_that_are_repeated_count_once(path, body):
    answer = LARGE(path, json={"query": "q", **body})
    assert (answer.status_code, answer.json()["usage"]["total_tokens"]) == (200, 8_000)


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        ("/v1/rerank", {"query": "q", "documents": ["a"] * 20_000}, 400, "documents must hold at most 1000"),
        ("/rerank", {"query": "q", "texts": ["a"] * 20_000}, 413, "texts must hold at most 1000"),
        ("/v1/reranking", {"query": "q", "input": ["a"] * 20_000}, 400, "input must hold at most 1000"),
        ("/v1/ranking", {"query": "q", "passages": ["a"] * 20_000}, 400, "passages must hold at most 1000"),
        ("/v1/score", {"queries": ["a"] * 20_000, "documents": ["a"] * 20_000}, 400, "queries must hold at most 1000"),
        ("/v1/score", {"text_1": "a", "text_2": ["a"] * 20_000}, 400, "text_2 must hold at most 1000"),
        ("/v1/score/length", {"query": {}, "items": [{}] * 20_000}, 400, "items must hold at most 1000"),
        ("/predict", {"inputs": [["q", "a"]] * 20_000}, 413, "inputs must hold at most 1000"),
        ("/weaviate/rerank", {"query": "q", "documents": ["a"] * 20_000}, 400, "documents must hold at most 1000"),
        (
            "/api/v1/services/rerank/text-rerank/text-rerank",
            {"input": {"query": "q", "documents": ["a"] * 20_000}},
            400,
            "input.documents must hold at most 1000",
        ),
        ("/v1/encode/length", {"items": [{}] * 20_000}, 400, "items must hold at most 1000"),
        ("/rerank", {"query": "q", "documents": ["a"], "rank_fields": ["t"] * 100_001}, 400, "rank_fields must hold"),
    ],
)
def test_entries_are_counted_before_any_text_is_read(monkeypatch, path, body, status, message):
    def read_texts(*_: object, **__: object) -> None:
        raise AssertionError("a text was read")

    monkeypatch.setattr(read, "_read_text", read_texts)
    answer = LARGE(path, json=body, headers={"Accept": "application/json"})
    assert answer.status_code == status and answer.json()["message"].startswith(message)


def test_a_list_in_a_field_that_nobody_reads_is_not_counted():
    assert LARGE("/v1/rerank", json={**BODY, "queries": ["a"] * 2_000}).status_code == 200


@pytest.mark.parametrize("unread", [[[]] * 40_000, [{}] * 40_000, [0] * 300_000, {"a": [[["b"]]] * 20_000}])
@pytest.mark.parametrize("as_msgpack", [False, True])
def test_a_body_of_too_many_values_is_refused_while_it_is_read(unread, as_msgpack):
    body = {"query": {"text": "q"}, "items": [{"text": "a"}], "unread": unread}
    content, kind = (msgpack.packb(body), codec.MSGPACK) if as_msgpack else (json.dumps(body), "application/json")
    headers = {"Content-Type": kind, "Accept": "application/json"}
    answer = LARGE("/v1/score/length", content=content, headers=headers)
    assert answer.status_code in (400, 413)
    assert as_msgpack or answer.json()["message"] == "request body must hold at most 256000 values, got more"


@given(content=spelled(anything))
def test_large_bodies_are_read_as_small_ones_are(content):
    def outcome(decode):
        try:
            return repr(decode())
        except ValueError as error:
            return str(error)

    small = outcome(lambda: codec._read_json(content, 10**9))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(codec, "SMALL_BYTES", 0)
        assert outcome(lambda: codec._read_json(content, 10**9)) == small


def test_bodies_that_wait_are_bounded_in_bytes():
    async def scenario() -> None:
        scorer = LengthScorer(seconds=60)
        server = Server(Models({"length": scorer}, {}), Limits(waiting_bytes=150_000))
        transport = httpx.ASGITransport(create_api(server), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as http:
            body = {"query": "q", "documents": ["a" * 90_000]}
            first = asyncio.create_task(http.post("/v1/rerank", json=body))
            while not scorer.asked:
                await asyncio.sleep(0.001)
            refused = await http.post("/v1/rerank", json=body)
            assert refused.status_code == 429 and refused.headers["retry-after"] == "1"
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)
            scorer.seconds = 0
            large = {"query": "q", "documents": ["a" * 90_000] * 2}
            assert (await http.post("/v1/rerank", json=large)).status_code == 200  # alone, even a larger one is read

    asyncio.run(asyncio.wait_for(scenario(), 20))
