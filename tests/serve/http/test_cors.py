"""Pages of other origins call the server if the settings name them."""

import pytest

from serve.http.endpoint import Server
from serve.keys import ApiKeys
from serve.models import Models
from tests.serve.standins import LengthScorer, calling

BODY = {"query": "q", "documents": ["a", ""]}
PAGE = {"Origin": "https://app.example"}
PREFLIGHT = {
    **PAGE,
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization, content-type, x-client-name",
}


def call(path, method="POST", *, origins=("https://app.example",), **request):
    server = Server(Models({"length": LengthScorer()}), api_keys=ApiKeys(fixed={"me": "secret"}))
    return calling(server, cors_origins=origins)(path, method, **request)


@pytest.mark.parametrize("path", ["/v1/rerank", "/v2/rerank", "/v1/models", "/v1//rerank"])
def test_a_preflight_is_answered_without_a_key(path):
    answer = call(path, "OPTIONS", headers=PREFLIGHT)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "https://app.example"
    assert "POST" in answer.headers["access-control-allow-methods"]
    allowed = answer.headers["access-control-allow-headers"]
    assert {"authorization", "content-type", "x-client-name"} <= {name.strip() for name in allowed.split(",")}


def test_a_page_of_a_named_origin_may_read_the_answer_and_its_headers():
    answer = call("/v1/rerank", json=BODY, headers={**PAGE, "Authorization": "Bearer secret"})
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, "https://app.example")
    exposed = {name.strip().lower() for name in answer.headers["access-control-expose-headers"].split(",")}
    assert exposed == {"x-request-id", "x-rerank-warning", "server-timing", "retry-after"}
    assert {"x-request-id", "x-rerank-warning", "server-timing"} <= answer.headers.keys()


@pytest.mark.parametrize(("path", "status"), [("/v1/rerank", 401), ("/v3", 404)])
def test_a_page_may_read_errors(path, status):
    answer = call(path, json=BODY, headers=PAGE)
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (status, "https://app.example")


def test_a_page_of_another_origin_is_refused():
    other = {"Origin": "https://evil.example"}
    assert call("/v1/rerank", "OPTIONS", headers={**PREFLIGHT, **other}).status_code == 400
    answer = call("/v1/rerank", json=BODY, headers={**other, "Authorization": "Bearer secret"})
    assert "access-control-allow-origin" not in answer.headers


def test_every_page_may_call_if_all_origins_are_named():
    assert call("/health", "GET", origins=("*",), headers=PAGE).headers["access-control-allow-origin"] == "*"


def test_by_default_no_page_may_call():
    answer = call("/v1/rerank", "OPTIONS", origins=(), headers=PREFLIGHT)
    assert answer.status_code == 405 and "access-control-allow-origin" not in answer.headers
