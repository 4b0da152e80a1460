"""Requests and answers of each protocol, byte for byte as in golden/, and the paths that real SDKs call."""

import asyncio
import json
from pathlib import Path
from unittest.mock import AsyncMock

import httpx
import msgpack
import pytest

from rerank.errors import UnavailableError
from rerank.types import TokenLimits
from serve.http.api import create_api
from serve.http.endpoint import Server
from serve.models import Models
from tests.serve.standins import LengthScorer

GOLDEN = sorted((Path(__file__).parent / "golden").glob("*.json"))
BODY = {"query": "q", "documents": ["four", "sixsix"]}


@pytest.mark.parametrize("file", GOLDEN, ids=lambda file: file.stem)
def test_golden(client, file):
    case = json.loads(file.read_text(encoding="utf-8"))
    headers = {"X-Request-Id": "golden", "Accept": "application/json"}
    answer = client(case["path"], json=case["request"], headers=headers)
    assert (answer.status_code, answer.json()) == (case["status"], case["response"])
    assert list(answer.json()) == list(case["response"])


@pytest.mark.parametrize(
    "path",
    ["/v1/rerank", "/v2/rerank", "/rerank", "/v1/v2/rerank", "/v1/v1/rerank", "/v1//rerank", "//v1///v2/rerank"],
)
def test_paths_that_sdks_join_from_a_base_and_their_own(client, path):
    assert [place["index"] for place in client(path, json=BODY).json()["results"]] == [1, 0]


@pytest.mark.parametrize("path", ["/v1/rerank", "/rerank", "/v1/reranking", "/v1/ranking"])
@pytest.mark.parametrize(
    ("body", "key"),
    [
        (BODY, "results"),
        ({**BODY, "top_k": None}, "data"),
        ({**BODY, "truncation": True}, "data"),
        ({"query": "q", "input": ["a"]}, "data"),
        ({"query": "q", "passages": ["a"]}, "rankings"),
    ],
)
def test_a_body_s_keys_name_its_dialect_at_every_shared_path(client, path, body, key):
    assert key in client(path, json=body).json()


@pytest.mark.parametrize("path", ["/v2/rerank", "/v1/v2/rerank", "/v2/v2/rerank"])
@pytest.mark.parametrize("stray", [{"top_k": 1}, {"truncation": False}, {"texts": ["a"]}, {"input": [], "passages": 1}])
def test_at_cohere_s_second_version_the_path_names_the_dialect(client, scorer, path, stray):
    answer = client(path, json={**BODY, **stray}).json()
    assert [place["index"] for place in answer["results"]] == [1, 0]
    assert scorer.asked[0].token_limits == TokenLimits()


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/v1/rerank", BODY, "top_n"),
        ("/v2/rerank", BODY, "top_n"),
        ("/v2/rerank", BODY, "max_tokens_per_doc"),
        ("/rerank", BODY, "truncate_prompt_tokens"),
        ("/v1/rerank", BODY, "top_k"),
        ("/rerank", {"query": "q", "texts": ["a"]}, "top_n"),
        ("/v1/reranking", {"query": "q", "input": ["a"]}, "top_k"),
        ("/v1/ranking", {"query": "q", "passages": ["a"]}, "top_k"),
        ("/v1/score", {"text_1": "q", "text_2": "a"}, "truncate_prompt_tokens"),
    ],
)
@pytest.mark.parametrize("value", [True, False])
def test_true_and_false_are_no_numbers(client, scorer, path, body, field, value):
    answer = client(path, json={**body, field: value})
    assert answer.status_code in (400, 422)
    assert answer.json()["message"] == f"{field} must be an integer, got {json.dumps(value)}"
    assert scorer.asked == []


def test_sie_speaks_msgpack_unless_json_is_asked_for(client):
    body = {"query": {"text": "q"}, "items": [{"text": "four"}]}
    packed = {"content": msgpack.packb(body), "headers": {"Content-Type": "application/msgpack"}}
    answer = client("/v1/score/length", **packed)
    assert answer.headers["content-type"] == "application/msgpack"
    assert msgpack.unpackb(answer.content)["scores"][0]["item_id"] == "item-0"
    refused = client("/v1/score/length", content=b"\xc1", headers={"Content-Type": "application/msgpack"})
    assert refused.status_code == 400
    assert msgpack.unpackb(refused.content)["detail"]["code"] == "INVALID_INPUT"
    assert client("/v1/score/length", json=body, headers={"Accept": "application/json"}).json()["scores"]


def test_models_can_be_read_by_openai_s_and_sie_s_clients(client):
    body = client("/v1/models", "GET").json()
    assert [model["id"] for model in body["data"]] == ["length"]
    assert body["data"][0]["aliases"] == ["short", "org/length"]
    assert body["models"][0]["name"] == "length"
    assert body["models"][0]["max_sequence_length"] == 512
    assert body["models"][0]["kind"] == "by length"


@pytest.mark.parametrize("name", ["length", "short", "org/length"])
def test_a_model_can_be_read_by_openai_s_and_xinference_s_clients(client, name):
    body = client(f"/v1/models/{name}", "GET").json()
    assert (body["id"], body["object"], body["owned_by"]) == ("length", "model", "rerank")
    assert (body["model_type"], body["max_sequence_length"]) == ("rerank", 512)
    assert body == client("/v1/models", "GET").json()["data"][0]


def test_a_model_that_is_not_served_cannot_be_described(client):
    answer = client("/v1/models/org/none", "GET")
    assert answer.status_code == 404
    assert answer.json()["message"] == "model 'org/none' is not served here, accepted are 'length'"


def test_xinference_s_client_need_not_send_a_key_where_none_is_needed(client):
    assert client("/v1/cluster/auth", "GET").json() == {"auth": False}


def test_weaviate_finds_its_probes_and_a_description(client):
    for probe in ("live", "ready"):
        answer = client(f"/weaviate/.well-known/{probe}", "GET")
        assert (answer.status_code, answer.content) == (204, b"")
    assert client("/weaviate/meta", "GET").json()["id"] == "length"


def test_weaviate_is_not_ready_without_its_model(client, scorer):
    scorer.describe = AsyncMock(side_effect=UnavailableError("away"))
    scorer.runs = False
    assert client("/weaviate/.well-known/ready", "GET").status_code == 503


@pytest.mark.parametrize(
    "path",
    ["/", "/docs", "/openapi.json", "/health", "/readyz", "/metrics", "/info", "/v1/models", "/v1/models/length"],
)
def test_head_is_answered_as_get_is_but_without_a_body(client, path):
    answer, whole = client(path, "HEAD"), client(path, "GET")
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-type"] == whole.headers["content-type"]
    if path != "/metrics":  # which may count in between
        assert answer.headers["content-length"] == str(len(whole.content))


@pytest.mark.parametrize(("path", "status"), [("/v1/rerank", 405), ("/v3", 404), ("/v1/models/none", 404)])
def test_head_fails_where_get_does(client, path, status):
    answer = client(path, "HEAD")
    assert (answer.status_code, answer.content) == (status, b"")


def test_info_is_tei_s(client):
    info = client("/info", "GET").json()
    assert (info["model_id"], info["max_input_length"], info["max_client_batch_size"]) == ("length", 512, 1000)
    assert "reranker" in info["model_type"]
    assert info["model_kind"] == "by length"
    assert info["blank_documents"] == "last, with score 0"


@pytest.mark.parametrize("path", ["/health", "/healthz", "/readyz"])
def test_probes(client, path):
    assert client(path, "GET").status_code == 200


def test_an_unknown_path_has_an_error_body(client):
    answer = client("/v3/rerank", json=BODY)
    assert (answer.status_code, answer.json()["message"]) == (404, "Not Found: POST /v3/rerank")
    assert client("/v1/rerank", "GET").status_code == 405


def test_probes_and_lists_do_not_wake_a_model_that_sleeps():
    class Asleep(LengthScorer):
        async def describe(self):
            raise AssertionError("woken")

    models = Models({"length": LengthScorer(), "large": Asleep()}, may_sleep=frozenset({"large"}))

    async def answers() -> list[httpx.Response]:
        transport = httpx.ASGITransport(create_api(Server(models)))
        async with httpx.AsyncClient(transport=transport, base_url="http://t") as http:
            return [await http.get(path) for path in ("/readyz", "/v1/models")]

    ready, listed = asyncio.run(answers())
    assert ready.status_code == 200
    assert [(model["name"], model["loaded"]) for model in listed.json()["models"]] == [
        ("length", True),
        ("large", False),
    ]
