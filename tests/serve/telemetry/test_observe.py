"""What the server tells of its work: log, metrics, timings, and the page to try it on."""

import json
import logging
import re
from html.parser import HTMLParser

import pytest

from rerank.errors import OverloadedError
from rerank.types import Timings
from serve.http.api import create_api
from serve.http.endpoint import Server
from serve.keys import ApiKeys
from serve.models import Models
from tests.serve.standins import LengthScorer

BODY = {"query": "secret question", "documents": ["four", "sixsix"]}


@pytest.fixture
def access(caplog):
    caplog.set_level(logging.INFO, logger="rerank.access")
    return lambda: [json.loads(record.message) for record in caplog.records if record.name == "rerank.access"]


def test_a_line_of_json_per_request_without_texts(client, scorer, access):
    scorer.timings = Timings(0.001, 0.002, 0.003)
    client("/v1/rerank", json=BODY, headers={"X-Request-Id": "abc"})
    (line,) = access()
    assert line.pop("ms") >= 0
    assert line == {
        "request_id": "abc",
        "path": "/v1/rerank",
        "status": 200,
        "model": "length",
        "documents": 2,
        "tokens": 10,
        "tokenize_ms": 1.0,
        "queue_ms": 2.0,
        "score_ms": 3.0,
    }


def test_errors_are_logged_with_their_code(client, scorer, access):
    scorer.failure = OverloadedError("full")
    client("/v1/rerank", json=BODY)
    client("/v1/rerank", json={})
    assert [(line["status"], line["error"]) for line in access()] == [(429, "overloaded"), (400, "input")]


def test_timings_come_back_in_a_header(client, scorer):
    scorer.timings = Timings(0.001, 0.002, 0.003)
    timing = client("/v1/rerank", json=BODY).headers["server-timing"]
    assert re.fullmatch(r"tokenize;dur=1\.0, queue;dur=2\.0, score;dur=3\.0, total;dur=[\d.]+", timing)


def test_metrics_count_requests_documents_and_tokens(client):
    client("/v1/rerank", json=BODY)
    client("/v1/rerank", json={})
    text = client("/metrics", "GET").text
    assert 'rerank_requests_total{model="length",path="/v1/rerank",status="200"} 1.0' in text
    assert 'rerank_requests_total{model="",path="/v1/rerank",status="400"} 1.0' in text
    assert 'rerank_documents_total{model="length"} 2.0' in text
    assert 'rerank_tokens_total{model="length"} 10.0' in text
    assert 'rerank_stage_seconds_count{model="length",stage="score"} 1.0' in text
    assert "secret" not in text


class Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.labels: set[str] = set()
        self.fields: set[str] = set()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if "id" in values:
            self.ids.add(values["id"])
        if tag in {"input", "textarea", "select"}:
            self.fields.add(values["id"])
        if tag == "label":
            self.labels.add(values["for"])
        self.links += [values[name] for name in ("src", "href") if name in values]


def test_the_playground_is_one_file_that_loads_nothing_and_labels_every_field(client):
    answer = client("/", "GET")
    assert answer.headers["content-type"].startswith("text/html")
    assert "connect-src 'self'" in answer.headers["content-security-policy"]
    page = Page()
    page.feed(answer.text)
    assert page.fields == page.labels
    assert page.links == ["docs"]
    assert not re.search(r"https?://", answer.text)
    assert set(re.findall(r'\bat\("(\w+)"\)', answer.text)) <= page.ids


def test_a_failure_outside_the_endpoints_has_an_error_body(client, scorer, monkeypatch):
    def fail():
        raise RuntimeError("secret")

    monkeypatch.setattr(scorer, "describe", fail)
    answer = client("/info", "GET")
    assert answer.status_code == 500 and "secret" not in answer.text
    assert answer.json()["detail"] == answer.json()["message"]


def test_metrics_need_a_key_where_there_are_keys_and_the_page_does_not():
    import asyncio

    import httpx

    api = create_api(Server(Models({"length": LengthScorer()}), api_keys=ApiKeys(fixed={"me": "secret"})))

    async def statuses() -> list[int]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(api), base_url="http://t") as http:
            return [(await http.get(path)).status_code for path in ("/metrics", "/")]

    assert asyncio.run(statuses()) == [401, 200]
