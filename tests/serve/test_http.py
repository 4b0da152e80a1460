"""What only a real server shows: Serve's proxy, its handles, and the errors that cross them."""

import httpx
import pytest

pytestmark = pytest.mark.ray

DOCUMENTS = ["Sockets are end points of a connection.", "dict.copy() returns a shallow copy of the dictionary."]


def test_a_request_is_answered(url):
    answer = httpx.post(f"{url}/v1/rerank", json={"query": "copy a dictionary", "documents": DOCUMENTS}, timeout=60)
    assert answer.status_code == 200
    body = answer.json()
    assert body["model"] == "docs-mini"
    assert {place["index"] for place in body["results"]} == {0, 1}
    assert body["usage"]["total_tokens"] > 20


def test_a_bad_request_is_an_error_body(url):
    answer = httpx.post(f"{url}/v1/rerank", json={"query": "q", "documents": []}, timeout=60)
    assert answer.status_code == 400
    assert answer.json()["message"] == "documents must hold at least one document, got none"
