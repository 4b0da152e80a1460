"""What only a real server shows: Serve's proxy, its handles, and the errors that cross them."""

import gzip
import json
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

pytestmark = pytest.mark.ray

DOCUMENTS = ["Sockets are end points of a connection.", "dict.copy() returns a shallow copy of the dictionary."]
BODY = {"query": "copy a dictionary", "documents": DOCUMENTS}
LONG = {"query": "copy a dictionary", "documents": [f"{number} " + "words of a text " * 2 for number in range(900)]}


@pytest.fixture
def http(server: httpx.Client) -> httpx.Client:
    return server


def test_a_model_that_gives_no_vectors_says_so(http):
    answer = http.post("/v1/encode/org/first", json={"items": [{"text": "a"}]}, headers={"Accept": "application/json"})
    assert answer.status_code == 400
    assert answer.json()["detail"]["message"].startswith("this model gives scores and no vectors")


def test_a_request_is_answered_with_its_timings(http):
    answer = http.post("/v1/rerank", json=BODY)
    assert answer.status_code == 200
    body = answer.json()
    assert body["model"] == "org/first"
    assert {place["index"] for place in body["results"]} == {0, 1}
    assert body["usage"]["total_tokens"] > 20
    assert body["id"] == answer.headers["x-request-id"]
    assert answer.headers["server-timing"].startswith("tokenize;dur=")


def test_models_are_found_by_name_alias_and_path(http):
    answers = [
        http.post("/v1/rerank", json={**BODY, "model": name}).json() for name in ("org/first", "default", "tight")
    ]
    assert [answer["model"] for answer in answers] == ["org/first", "org/first", "tight"]
    first, same, other = (answer["results"] for answer in answers)
    assert first == same != other
    items = {"query": {"text": "q"}, "items": [{"text": "a"}]}
    scored = http.post("/v1/score/org/first", json=items, headers={"Accept": "application/json"})
    assert scored.json()["scores"][0]["rank"] == 0
    assert http.post("/v2/rerank", json={**BODY, "model": "other"}).status_code == 404


def test_the_server_describes_its_models(http):
    body = http.get("/v1/models").json()
    assert [model["id"] for model in body["data"]] == ["org/first", "tight"]
    assert body["models"][0]["max_sequence_length"] >= 256
    assert http.get("/info").json()["model_dtype"] == "float32"
    assert http.get("/readyz").status_code == 200
    assert "rerank_requests_total" in http.get("/metrics").text
    assert http.get("/").text.startswith("<!doctype html>")
    script = http.get("/docs").text.partition('script src="')[2].partition('"')[0]
    assert len(http.get(script).content) > 1_000_000


def test_a_page_of_another_origin_may_send_a_compressed_body(http):
    page = {"Origin": "https://app.example"}
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-encoding"}
    preflight = http.options("/v1/rerank", headers={**page, **asked, "Authorization": ""})
    assert (preflight.status_code, preflight.headers["access-control-allow-origin"]) == (200, page["Origin"])
    body = gzip.compress(json.dumps({**BODY, "documents": [*DOCUMENTS, " "]}).encode())
    answer = http.post("/v1/rerank", content=body, headers={**page, "Content-Encoding": "gzip"})
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, page["Origin"])
    assert answer.json()["results"][-1] == {"index": 2, "relevance_score": 0.0}
    assert answer.headers["x-rerank-warning"] == answer.json()["meta"]["warnings"][0]


def test_head_is_answered_through_the_proxy(http):
    answer = http.head("/v1/models/org/first")
    assert (answer.status_code, answer.content) == (200, b"")
    assert http.get("/v1/models/org/first").json()["model_type"] == "rerank"


def test_a_bad_request_is_an_error_body(http):
    answer = http.post("/v1//rerank", json={"query": "q", "documents": []})
    assert answer.status_code == 400
    assert answer.json()["message"] == "documents must hold at least one document, got none"


def test_without_its_key_nothing_is_answered(http):
    assert http.post("/v1/rerank", json=BODY, headers={"Authorization": "Bearer wrong"}).status_code == 401


def test_a_full_queue_refuses_at_once_what_does_not_fit(http):
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: http.post("/v1/rerank", json={**LONG, "model": "tight"}), range(4)))
    assert sorted(answer.status_code for answer in answers) == [200, 429, 429, 429]
    for answer in answers:
        if answer.status_code == 429:
            assert int(answer.headers["retry-after"]) >= 1
            assert answer.json()["message"].startswith("900 pairs wait to be scored and at most 1000 may")


def test_documents_are_cut_where_it_is_asked_for_and_refused_where_it_is_not(http):
    long = " ".join(["dict.copy() returns a shallow copy of the dictionary."] * 90)
    whole, cut, head = (
        http.post("/v2/rerank", json={**BODY, "documents": [text], **more}).json()
        for text, more in ((long, {}), (long, {"max_tokens_per_doc": 4}), ("dict.copy", {}))
    )
    assert cut["results"] == head["results"] != whole["results"]
    assert cut["usage"] == head["usage"] != whole["usage"]
    texts = {"query": BODY["query"], "texts": [*DOCUMENTS, long]}
    refused = http.post("/rerank", json={**texts, "truncate": False})
    assert (refused.status_code, refused.json()["error_type"]) == (413, "Validation")
    assert refused.json()["error"].startswith("texts[2] must have at most ")
    assert http.post("/rerank", json={**texts, "texts": DOCUMENTS, "truncate": False}).status_code == 200


def test_a_deadline_ends_the_work_and_leaves_the_queue_free(http):
    late = http.post("/v1/rerank", json={**LONG, "model": "tight"}, headers={"X-Request-Timeout": "0.02"})
    assert late.status_code == 504
    again = http.post("/v1/rerank", json={**BODY, "model": "tight"})
    assert again.status_code == 200
    assert len(again.json()["results"]) == 2


def test_hanging_up_frees_the_queue(http):
    with pytest.raises(httpx.ReadTimeout):
        http.post("/v1/rerank", json={**LONG, "model": "tight"}, timeout=0.05)
    for _ in range(50):  # the proxy needs a moment to see it
        answer = http.post("/v1/rerank", json={**BODY, "documents": DOCUMENTS * 60, "model": "tight"})
        if answer.status_code == 200:
            break
    assert answer.status_code == 200
