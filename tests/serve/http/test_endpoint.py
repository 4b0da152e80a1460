import httpx
import pytest

from rerank.errors import ModelError, OverloadedError

BODY = {"query": "q", "documents": ["four", "sixsix", "five5"]}


def test_answers_best_first_with_indices_into_the_request(client, scorer):
    answer = client("/v1/rerank", json=BODY)
    assert answer.status_code == 200
    body = answer.json()
    assert body == {
        "id": answer.headers["x-request-id"],
        "model": "length",
        "results": [
            {"index": 1, "relevance_score": 0.95257413},
            {"index": 2, "relevance_score": 0.8807971},
            {"index": 0, "relevance_score": 0.7310586},
        ],
        "usage": {"prompt_tokens": 15, "total_tokens": 15},
        "meta": {"billed_units": {"search_units": 1}},
    }


def test_top_n_cuts_and_return_documents_echoes(client):
    asked = {**BODY, "documents": ["a", {"text": "bb", "year": 3}], "top_n": 1, "return_documents": True}
    results = client("/v1/rerank", json=asked).json()["results"]
    assert results == [{"index": 1, "relevance_score": 0.26894143, "document": {"text": "bb"}}]


def test_unknown_and_null_fields_are_accepted(client):
    asked = {**BODY, "model": None, "top_n": None, "return_documents": None, "rank_fields": None, "user": "me"}
    assert client("/v1/rerank", json=asked).status_code == 200


def test_a_request_id_is_kept(client):
    answer = client("/v1/rerank", json=BODY, headers={"X-Request-Id": "abc"})
    assert answer.json()["id"] == "abc"
    assert "x-request-id" not in answer.headers  # Serve's proxy adds it


@pytest.mark.parametrize(
    ("change", "status", "message"),
    [
        ({"query": None}, 400, "query must be a string, got null"),
        ({"query": " "}, 400, "query must hold text, got a blank one"),
        ({"documents": []}, 400, "documents must hold at least one document, got none"),
        ({"documents": "a"}, 400, "documents must be a list, got 'a'"),
        ({"documents": ["a", 5]}, 400, "documents[1] must be a string or an object with text, got 5"),
        ({"documents": ["a", {"body": "b"}]}, 400, "documents[1].text must be a string, got null"),
        ({"documents": ["a", None]}, 400, "documents[1] must be a string or an object with text, got null"),
        ({"top_n": 0}, 400, "top_n must be at least 1, got 0"),
        ({"top_n": -1}, 400, "top_n must be at least 1, got -1"),
        ({"top_n": "many"}, 400, "top_n must be an integer, got 'many'"),
        ({"rank_fields": []}, 400, "rank_fields must name at least one field, got an empty list"),
        ({"model": "none"}, 404, "model 'none' is not served here, accepted are 'length'"),
    ],
)
def test_a_bad_request_names_the_field_before_any_work(client, scorer, change, status, message):
    answer = client("/v1/rerank", json={**BODY, **change})
    assert (answer.status_code, answer.json()["message"]) == (status, message)
    assert answer.json()["detail"] == answer.json()["error"]["message"] == message
    assert scorer.asked == []


def test_a_missing_field_is_named(client):
    answer = client("/v1/rerank", json={"documents": ["a"]})
    assert (answer.status_code, answer.json()["message"]) == (400, "query is missing")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", " is not valid JSON: Expecting property name enclosed in double quotes at line 1, column 2"),
        (b"", " is not valid JSON: Expecting value at line 1, column 1"),
        (b"[1]", " must be a JSON object, got a list"),
        (b"\xff", " is not valid JSON: 'utf-8' codec can't decode byte 0xff"),
        (b'{"a": NaN}', " is not valid JSON: NaN is not a JSON value"),
        (b"[" * 9999, " is not valid JSON: maximum recursion depth exceeded"),
    ],
)
def test_a_body_that_is_no_json_object_is_refused(client, content, message):
    answer = client("/v1/rerank", content=content)
    assert answer.status_code == 400
    assert answer.json()["message"].startswith(f"request body{message}")


@pytest.mark.parametrize(
    ("failure", "status"),
    [(OverloadedError("full", retry_after_s=7), 429), (ModelError("NaN"), 500), (RuntimeError("secret"), 500)],
)
def test_failures_keep_their_type_and_hide_their_insides(client, scorer, failure, status):
    scorer.failure = failure
    answer: httpx.Response = client("/v1/rerank", json=BODY)
    assert answer.status_code == status
    assert "secret" not in answer.text and "Traceback" not in answer.text
    assert answer.headers.get("retry-after") == ("7" if status == 429 else None)


def test_half_a_surrogate_pair_is_refused_in_a_text_and_survives_an_echo(client):
    refused = client("/v1/rerank", content=b'{"query": "q", "documents": ["a\\ud800"]}')
    assert (refused.status_code, refused.json()["message"][:12]) == (400, "documents[0]")
    echoed = client(
        "/v1/reranking", content=b'{"query": "q", "input": [{"text": "a", "b": "\\ud800"}], "return_input": true}'
    )
    assert echoed.json()["data"][0]["input"]["b"] == "\ud800"


def test_a_long_list_of_rows_is_one_request_to_the_model(client, scorer):
    texts = ["a" * (row % 7 + 1) for row in range(500)]
    data = client("/score", json={"queries": texts, "documents": texts}).json()["data"]
    assert [place["index"] for place in data] == list(range(500))
    assert data[6]["score"] == data[13]["score"] > data[0]["score"] == data[7]["score"]
    assert [(len(request.queries), len(request.documents)) for request in scorer.asked] == [(500, 500)]
