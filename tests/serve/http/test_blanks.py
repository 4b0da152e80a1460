"""Blank documents, in every dialect: they come last with score 0, and reach no model."""

import pytest

from rerank.errors import TooLongError

JSON = {"Accept": "application/json"}
TEXTS = ["four", " ", "sixsix", ""]
OBJECTS = [{"text": text} for text in TEXTS]
WARNING = "2 blank documents were not scored and got the lowest score: {0}[1], {0}[3]"


def cohere(answer):
    return [(place["index"], place["relevance_score"]) for place in answer["results"]]


def voyage(answer):
    return [(place["index"], place["relevance_score"]) for place in answer["data"]]


def scores(answer):
    return [(place["index"], place["score"]) for place in (answer if isinstance(answer, list) else answer["data"])]


def logits(answer):
    return [(place["index"], place["logit"]) for place in answer["rankings"]]


def sie(answer):
    return [(place["item_id"], place["score"]) for place in answer["scores"]]


RANKED = [(2, 0.95257413), (0, 0.7310586), (1, 0.0), (3, 0.0)]
RAW = [(2, 3.0), (0, 1.0), (1, -700.0), (3, -700.0)]
IN_ORDER = [(0, 0.7310586), (1, 0.0), (2, 0.95257413), (3, 0.0)]
DIALECTS = {
    "Cohere": ("/v1/rerank", {"query": "q", "documents": TEXTS}, "documents", cohere, RANKED),
    "Cohere, objects": ("/v2/rerank", {"query": "q", "documents": OBJECTS}, "documents", cohere, RANKED),
    "rank_fields": (
        "/v1/rerank",
        {"query": "q", "documents": [{"a": text, "b": ""} for text in TEXTS], "rank_fields": ["b", "a"]},
        "documents",
        cohere,
        [(2, 0.98201376), (0, 0.880797), (1, 0.0), (3, 0.0)],  # a line break is a character
    ),
    "Infinity, logits": (
        "/rerank",
        {"query": "q", "documents": TEXTS, "raw_scores": True},
        "documents",
        cohere,
        RAW,
    ),
    "Voyage": ("/v1/rerank", {"query": "q", "documents": TEXTS, "top_k": None}, "documents", voyage, RANKED),
    "Mixedbread": ("/v1/reranking", {"query": "q", "input": TEXTS}, "input", scores, RANKED),
    "NIM": ("/v1/ranking", {"query": "q", "passages": OBJECTS}, "passages", logits, RAW),
    "TEI": ("/rerank", {"query": "q", "texts": TEXTS}, "texts", scores, RANKED),
    "TEI, logits": ("/rerank", {"query": "q", "texts": TEXTS, "raw_scores": True}, "texts", scores, RAW),
    "vLLM, one to many": ("/score", {"text_1": "q", "text_2": TEXTS}, "text_2", scores, IN_ORDER),
    "vLLM, row by row": ("/score", {"queries": [*"pqrs"], "documents": TEXTS}, "documents", scores, IN_ORDER),
    "TEI, pairs": (
        "/predict",
        {"inputs": [["q", text] for text in TEXTS]},
        "inputs",
        lambda answer: [(row, place["score"]) for row, (place,) in enumerate(answer)],
        IN_ORDER,
    ),
    "Weaviate": (
        "/weaviate/rerank",
        {"query": "q", "documents": TEXTS},
        "documents",
        lambda answer: [(row, place["score"]) for row, place in enumerate(answer["scores"])],
        IN_ORDER,
    ),
    "DashScope": (
        "/api/v1/services/rerank/text-rerank/text-rerank",
        {"input": {"query": "q", "documents": TEXTS}},
        "input.documents",
        lambda answer: cohere(answer["output"]),
        RANKED,
    ),
    "SIE": (
        "/v1/score/length",
        {"query": {"text": "q"}, "items": OBJECTS},
        "items",
        sie,
        [(f"item-{index}", score) for index, score in RANKED],
    ),
}


@pytest.mark.parametrize(("path", "body", "field", "read", "expected"), DIALECTS.values(), ids=DIALECTS)
def test_blank_documents_come_last_and_are_not_sent_to_the_model(client, scorer, path, body, field, read, expected):
    answer = client(path, json=body, headers=JSON)
    assert answer.status_code == 200, answer.text
    assert [(name, pytest.approx(score)) for name, score in read(answer.json())] == expected
    assert answer.headers["x-rerank-warning"] == WARNING.format(field)
    if "meta" in answer.json():
        assert answer.json()["meta"]["warnings"] == [WARNING.format(field)]
    (request,) = scorer.asked
    assert [text.strip() for text in request.documents] == ["four", "sixsix"]


@pytest.mark.parametrize(("path", "body", "field", "read", "expected"), DIALECTS.values(), ids=DIALECTS)
def test_only_blank_documents_are_answered_without_the_model(client, scorer, path, body, field, read, expected):
    blanks = {
        "items": [{"text": ""}],
        "passages": [{"text": "\n"}],
        "queries": ["q"],
        "rank_fields": None,
        "inputs": [["q", ""]],
        "input": {"query": "q", "documents": [""]} if field == "input.documents" else [""],
    }
    only_blank = {key: blanks.get(key, [" "] if isinstance(value, list) else value) for key, value in body.items()}
    answer = client(path, json=only_blank, headers=JSON)
    assert answer.status_code == 200, answer.text
    ((_, score),) = read(answer.json())
    assert score == (-700.0 if expected == RAW else 0.0)
    usage = answer.json().get("usage", {}) if isinstance(answer.json(), dict) else {}
    assert not any(usage.values())
    assert answer.headers["x-rerank-warning"].startswith("1 blank document was not scored and got the lowest score: ")
    assert scorer.asked == []


def test_queries_of_blank_documents_are_left_out_with_them(client, scorer):
    client("/score", json={"queries": ["p", "q", "r"], "documents": ["a", " ", "bb"]})
    assert [request.queries for request in scorer.asked] == [("p", "r")]


@pytest.mark.parametrize(("top_n", "indices"), [(1, [2]), (3, [2, 0, 1]), (9, [2, 0, 1, 3])])
def test_blank_documents_count_for_top_n(client, top_n, indices):
    answer = client("/v1/rerank", json={"query": "q", "documents": TEXTS, "top_n": top_n}).json()
    assert [place["index"] for place in answer["results"]] == indices


def test_a_blank_document_is_echoed_as_it_was_sent(client):
    answer = client("/v1/rerank", json={"query": "q", "documents": ["\t", "a"], "return_documents": True}).json()
    assert [place["document"]["text"] for place in answer["results"]] == ["a", "\t"]


def test_a_text_that_must_not_be_cut_keeps_its_index_behind_blank_ones(client, scorer):
    scorer.failure = TooLongError(1, 512)
    answer = client("/v1/rerank", json={"query": "q", "documents": ["", "a", "", "b"], "truncation": False})
    assert answer.json()["message"].startswith("documents[3] must have at most 512 tokens")


def test_the_lowest_logit_is_below_those_of_the_model(client):
    body = {"query": "q", "documents": ["", "a"], "raw_scores": True}
    assert [place["relevance_score"] for place in client("/v1/rerank", json=body).json()["results"]] == [-2.0, -700.0]


def test_a_warning_names_the_first_of_many(client):
    answer = client("/v1/rerank", json={"query": "q", "documents": ["", *["a", ""] * 20]})
    named = ", ".join(f"documents[{index}]" for index in range(0, 20, 2))
    assert answer.headers["x-rerank-warning"].endswith(f"got the lowest score: {named}, ...")


def test_without_blank_documents_there_is_no_warning(client):
    answer = client("/v1/rerank", json={"query": "q", "documents": ["a"]})
    assert "x-rerank-warning" not in answer.headers and "warnings" not in answer.json()["meta"]


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("/v1/rerank", {"query": " ", "documents": ["", ""]}, "query must hold text, got a blank one"),
        ("/v1/rerank", {"query": "q", "documents": ["", None]}, "documents[1] must be a string or an object with text"),
        ("/v1/rerank", {"query": "q", "documents": [{"text": None}]}, "documents[0].text must be a string, got null"),
        ("/v1/ranking", {"query": {"text": ""}, "passages": [{"text": ""}]}, "query must hold text, got a blank one"),
        ("/score", {"queries": ["", "q"], "documents": ["a", "b"]}, "queries[0] must hold text, got a blank one"),
    ],
)
def test_null_documents_and_blank_queries_stay_errors(client, scorer, path, body, message):
    answer = client(path, json=body)
    assert answer.status_code == 400 and answer.json()["message"].startswith(message)
    assert scorer.asked == []
