"""Whatever is sent: never a 500, an error in the dialect's own shape, and every ranking whole."""

import json
from typing import Any

import httpx
import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serve.http.endpoint import Server
from serve.http.examples import DOCUMENTED, documentation
from serve.http.limits import Limits
from serve.models import Models
from tests.serve.bodies import BY_PATH, PATHS, SIE, allowed, anything, changed, extended, packable, spelled
from tests.serve.standins import LengthScorer, calling

JSON = {"Accept": "application/json"}
MSGPACK = {"Content-Type": "application/msgpack"}
REFUSED = {400, 404, 413, 422}

call = calling(
    Server(
        Models({"length": LengthScorer()}, {"short": "length"}),
        Limits(body_bytes=5_000, documents=5, text_characters=60),
    )
)
fuzz = settings(max_examples=100)


def check(path: str, sent: Any, answer: httpx.Response, body: Any) -> None:
    """Refused in the dialect's words, or ranked whole."""
    if answer.status_code == 200:
        places, count = ranking(path, sent, body)
        assert sorted(places) == list(range(len(places))) if count is None else len(set(places)) == len(places) == count
    else:
        assert answer.status_code in REFUSED, answer.text
        check_error(path, sent, answer.status_code, body)
        assert len(answer.content) < 10_000


def ranking(path: str, sent: dict[str, Any], body: Any) -> tuple[list[int], int | None]:
    """Indices in an answer, and how many there must be; None where the places must be 0, 1, 2 …"""
    if path == "/predict":
        count = len(sent["inputs"]) if isinstance(sent["inputs"][0], list) else 1
        return list(range(len(body))), count
    if path.startswith("/weaviate/"):
        assert body["scores"] is None or len(body["scores"]) == len(sent["documents"])
        return [], None
    if "output" in body:
        asked = sent["input"]["documents"]
        top = int((sent.get("parameters") or {}).get("top_n") or 0) or len(asked)
        return [place["index"] for place in body["output"]["results"]], min(top, len(asked))
    if isinstance(body, list):
        top = int(sent.get("top_n") or 0) or len(sent["texts"])
        return [place["index"] for place in body], min(top, len(sent["texts"]))
    if "scores" in body:
        assert len(body["scores"]) == len(sent["items"])
        return [place["rank"] for place in body["scores"]], None
    if path.startswith("/v1/encode/"):
        assert len(body["items"]) == len(sent["items"])
        return [], None
    if "rankings" in body:
        top = int(sent.get("top_k") or 0) or len(sent["passages"])
        return [place["index"] for place in body["rankings"]], min(top, len(sent["passages"]))
    if "results" in body:
        top = int(sent.get("top_n") or 0) or len(sent["documents"])
        return [place["index"] for place in body["results"]], min(top, len(sent["documents"]))
    indices = [place["index"] for place in body["data"]]
    if "score" in path:
        pairs = (("text_1", "text_2"), ("queries", "documents"), ("data_1", "data_2"))
        second = next(sent[two] for one, two in pairs if sent.get(one) is not None)
        assert len(indices) == (len(second) if isinstance(second, list) else 1)
        return indices, None
    documents = sent["input"] if "input" in sent else sent["documents"]
    return indices, min(int(sent.get("top_k") or 0) or len(documents), len(documents))


def check_error(path: str, sent: Any, status: int, body: dict[str, Any]) -> None:
    """The error body of the dialect that the path and the body's keys name."""
    message = body["message"]
    assert message and isinstance(message, str)
    if path.startswith(SIE):
        assert body["detail"]["message"] == message and body["detail"]["code"].isupper()
    elif path.startswith("/weaviate/"):
        assert body["error"] == body["detail"] == message
    elif path == "/predict":
        assert body["error_type"] in {"Empty", "Validation"}
    elif (
        "score" not in path
        and "/v2/" not in path
        and path not in BY_PATH
        and isinstance(sent, dict)
        and "texts" in sent
    ):
        assert body["error"] == body["detail"] == message
        assert body["error_type"] in {"Empty", "Validation"}
    else:
        assert body["detail"] == message
        assert body["error"]["message"] == message and body["error"]["code"] == status


def understood(content: bytes) -> Any:
    """What a body says, or None."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


@pytest.mark.parametrize("path", PATHS)
def test_any_body_is_refused_or_ranked_whole(path: str) -> None:
    @fuzz
    @given(content=spelled(changed(path) | extended(path) | anything))
    def send(content: bytes) -> None:
        answer = call(path, content=content, headers=JSON)
        refused_as_json = answer.status_code != 200 and "request body" in answer.json()["message"]
        check(path, None if refused_as_json else understood(content), answer, answer.json())

    send()


@pytest.mark.parametrize("path", DOCUMENTED)
def test_what_the_documentation_allows_is_refused_or_ranked_whole(path: str) -> None:
    url = path.replace("{model}", "length")
    schema = documentation(path)["requestBody"]["content"]["application/json"]["schema"]

    @fuzz
    @given(body=allowed(schema))
    def send(body: Any) -> None:
        answer = call(url, content=json.dumps(body, allow_nan=True), headers=JSON)
        refused_as_json = answer.status_code != 200 and "request body" in answer.json()["message"]
        check(url, None if refused_as_json else body, answer, answer.json())

    send()


@pytest.mark.parametrize("path", ["/v1/score/length", "/v1/score/org/none", "/v1/encode/length"])
def test_any_msgpack_is_refused_or_ranked_whole(path: str) -> None:
    bodies = (changed(path, packable) | extended(path, packable) | packable).map(lambda body: (body, packed(body)))
    noise = st.binary(max_size=60).map(lambda content: (None, content))

    @fuzz
    @given(sent=bodies | noise)
    def send(sent: tuple[Any, bytes]) -> None:
        body, content = sent
        answer = call(path, content=content, headers=MSGPACK)
        check(path, body, answer, msgpack.unpackb(answer.content))

    send()


def packed(body: Any) -> bytes:
    """Msgpack of a value; b"\\xc1", which is none, where it has integers beyond 64 bits."""
    try:
        return msgpack.packb(body, unicode_errors="surrogatepass", datetime=True)
    except OverflowError:
        return b"\xc1"


@pytest.mark.parametrize("depth", [50, 100, 500, 900, 950, 970, 980, 990, 1000, 100_000])
def test_nesting_is_echoed_or_refused(client, depth: int) -> None:
    nested = "[" * depth + "]" * depth
    body = f'{{"query": "q", "input": [{{"text": "a", "more": {nested}}}], "return_input": true}}'
    answer = client("/v1/reranking", content=body)
    assert answer.status_code == (200 if depth == 50 else 400)


@pytest.mark.parametrize(
    ("path", "content", "message"),
    [
        ("/v1/reranking", '{"query": "q", "input": [{"text": "a", "n": 1e999}], "return_input": true}', "1e999"),
        (
            "/v1/score/length",
            '{"query": {"text": "q", "id": {}}, "items": [{"text": "a"}]}',
            "query.id must be a string",
        ),
        (
            "/v1/score/length",
            '{"query": {"text": "q"}, "items": [{"text": "a", "id": 7}]}',
            "items[0].id must be a str",
        ),
        ("/rerank", '{"query": "q", "texts": ["\\ud800"]}', "texts[0] must be valid Unicode"),
        ("/v1/score", '{"text_1": ["q", {"text": " "}], "text_2": ["a", "b"]}', "text_1[1] must hold text"),
    ],
)
def test_refused_by_name_before_any_work(client, scorer, path: str, content: str, message: str) -> None:
    answer = client(path, content=content, headers=JSON)
    assert answer.status_code in REFUSED and message in answer.json()["message"]
    assert scorer.asked == []


def test_a_name_as_long_as_the_body_is_quoted_in_part(client) -> None:
    answer = client("/v1/rerank", json={"query": "q", "documents": ["a"], "model": "m" * 100_000})
    assert answer.status_code == 404 and len(answer.content) < 2_000


def test_an_id_that_is_empty_is_named_by_its_place(client) -> None:
    body = {"query": {"text": "q", "id": ""}, "items": [{"id": "", "text": "a"}]}
    answer = client("/v1/score/length", json=body, headers=JSON).json()
    assert (answer["query_id"], answer["scores"][0]["item_id"]) == ("", "item-0")
