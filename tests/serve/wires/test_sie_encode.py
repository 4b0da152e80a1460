"""SIE's encode: msgpack byte for byte, options, errors, and vectors of real models that rank as the server does."""

import asyncio
from typing import Any

import httpx
import msgpack
import numpy as np
import pytest

from rerank import maxsim
from rerank.actor import RerankActor
from rerank.config import ScorerConfig
from rerank.errors import InputError, ModelError, OverloadedError, UnavailableError
from serve.http.api import create_api
from serve.http.endpoint import Server
from serve.http.limits import Limits
from serve.models import Models
from tests.models import CORPUS
from tests.text_models import make_late_interaction, make_vectors

PATH = "/v1/encode/length"
BODY = {"items": [{"id": "a", "text": "four"}, {"text": "six six"}]}
JSON = {"Accept": "application/json"}
MSGPACK = {"Content-Type": "application/msgpack", "Accept": "application/msgpack"}


def array(values: Any, kind: str = "<f4") -> dict[bytes, Any]:
    """An array as msgpack-numpy packs it."""
    packed = np.array(values, dtype=kind)
    return {b"nd": True, b"type": kind, b"kind": b"", b"shape": list(packed.shape), b"data": packed.tobytes()}


def test_golden_msgpack(client):
    sent = {**BODY, "params": {"output_types": ["multivector"], "output_dtype": "float16"}}
    answer = client(PATH, content=msgpack.packb(sent), headers=MSGPACK)
    assert answer.headers["content-type"] == "application/msgpack"
    vectors = ([[4, 0]], [[3, 0], [3, 0]])
    first, second = (
        {"token_dims": 2, "num_tokens": len(rows), "dtype": "float16", "values": array(rows, "<f2")} for rows in vectors
    )
    items = [{"id": "a", "multivector": first}, {"multivector": second}]
    expected = {"model": "length", "items": items, "usage": {"input_tokens": 11}}
    assert answer.content == msgpack.packb(expected)


def test_a_dense_vector_has_one_axis(client):
    answer = client(PATH, content=msgpack.packb(BODY), headers=MSGPACK)
    dense = [item["dense"] for item in msgpack.unpackb(answer.content)["items"]]
    assert dense == [{"dims": 2, "dtype": "float32", "values": array(values)} for values in ([4, 0], [7, 0])]


QUERIES = {"output_types": ["multivector", "multivector"], "options": {"is_query": True}, "instruction": None}


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        (None, (False, ("dense",))),
        ({"output_types": [], "options": {"is_query": False, "profile": "default"}}, (False, ("dense",))),
        (QUERIES, (True, ("multivector",))),
    ],
)
def test_what_is_encoded_is_what_was_asked_for(client, scorer, params, expected):
    assert client(PATH, json={**BODY, "params": params}, headers=JSON).status_code == 200
    (asked,) = scorer.asked
    assert (asked.texts, asked.timeout_s) == (("four", "six six"), 60)
    assert (asked.is_query, asked.outputs) == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"items": []}, "items must hold at least one item, got none"),
        ({"items": [{"text": " "}]}, "items[0] must hold text, got a blank one"),
        ({"items": [{"text": "a", "images": ["i"]}]}, "items[0].images must be left out"),
        ({"items": [{"text": "a", "id": 7}]}, "items[0].id must be a string, got 7"),
        ({"items": [{"text": "a"}] * 6}, "items must hold at most 5 entries, got 6"),
        ({"items": [{"text": "a"}, {"text": "a" * 61}]}, "items[1] must hold at most 60 characters, got 61"),
        ({"params": 7}, "params must be an object, got 7"),
        ({"params": {"output_dtype": "int8"}}, "params.output_dtype must be 'float32' or 'float16', got 'int8'"),
        ({"params": {"instruction": "find"}}, "params.instruction must be left out: only queries have one"),
        (
            {"params": {"instruction": "a" * 61, "options": {"is_query": True}}},
            "instruction must hold at most 60 characters, got 61",
        ),
        ({"params": {"options": {"is_query": "?"}}}, "params.options.is_query must be true or false, got '?'"),
        ({"params": {"options": {"profile": "fast"}}}, 'params.options.profile must be "default" or left out'),
        ({"params": {"options": {"normalize": False}}}, "params.options.normalize must be null, got false"),
        ({"params": {"options": {"muvera": {"k": 1}}}}, "params.options.muvera must be left out"),
        ({"params": {"options": {"output_dtype": "float16"}}}, "params.options.output_dtype must be left out"),
    ],
)
@pytest.mark.parametrize("limits", [Limits(documents=5, text_characters=60)])
def test_what_is_wrong_is_named_before_any_work(client, scorer, change, message):
    answer = client(PATH, json={**BODY, **change}, headers=JSON)
    assert (answer.status_code, answer.json()["detail"]["code"]) == (400, "INVALID_INPUT")
    assert answer.json()["message"].startswith(message)
    assert scorer.asked == []


@pytest.mark.parametrize(
    ("failure", "status", "code", "retry_after"),
    [
        (OverloadedError("full", retry_after_s=3), 429, "RATE_LIMIT", "3"),
        (UnavailableError("away"), 503, "MODEL_LOADING", "1"),
        (InputError("no vectors"), 400, "INVALID_INPUT", None),
        (ModelError("NaN"), 500, "MODEL", None),
    ],
)
def test_errors_have_sie_s_codes(client, scorer, failure, status, code, retry_after):
    scorer.failure = failure
    answer = client(PATH, content=msgpack.packb(BODY), headers=MSGPACK)
    assert (answer.status_code, answer.headers.get("retry-after")) == (status, retry_after)
    assert msgpack.unpackb(answer.content)["detail"] == {"code": code, "message": str(failure)}


def test_an_id_that_is_half_a_surrogate_pair_is_echoed(client):
    answer = client(PATH, content='{"items": [{"id": "\\ud800", "text": "four"}]}', headers=JSON)
    (item,) = answer.json()["items"]
    assert (item["id"], item["dense"]["values"]) == ("\ud800", [4, 0])


def test_an_unknown_model_is_404(client):
    answer = client("/v1/encode/org/none", json=BODY, headers=JSON)
    assert (answer.status_code, answer.json()["detail"]["code"]) == (404, "MODEL_NOT_FOUND")


def test_texts_and_tokens_are_counted(client):
    client(PATH, json=BODY)
    metrics = client("/metrics", "GET").text
    assert 'rerank_documents_total{model="length"} 2.0' in metrics
    assert 'rerank_tokens_total{model="length"} 11.0' in metrics


def test_the_list_of_models_says_what_they_give(client):
    (model,) = client("/v1/models", "GET").json()["models"]
    assert model["outputs"] == ["score", "dense", "multivector"]


QUERY, DOCUMENTS = "How do I return a parcel?", [*CORPUS, " ".join(CORPUS)]
ITEMS = [{"id": str(row), "text": text} for row, text in enumerate(DOCUMENTS)]


@pytest.fixture(scope="module")
def api(folder_of, tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoders")
    make_late_interaction(folder_of("bert"), folder / "late")
    make_vectors(folder_of("bert"), folder / "vectors")
    models = {"org/late": folder / "late", "org/vectors": folder / "vectors", "classifier": folder_of("bert")}
    configs = {name: ScorerConfig(model=str(place), dtype="float32") for name, place in models.items()}
    return create_api(Server(Models({name: RerankActor(config) for name, config in configs.items()})))


def posted(api, *requests: tuple[str, dict[str, Any]]) -> list[httpx.Response]:
    async def send() -> list[httpx.Response]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(api), base_url="http://testserver") as http:
            return await asyncio.gather(*(http.post(path, json=body, headers=JSON) for path, body in requests))

    return asyncio.run(send())


@pytest.mark.parametrize(("model", "output"), [("org/late", "multivector"), ("org/vectors", "dense")])
def test_vectors_rank_as_the_server_does(api, model, output):
    params = {"output_types": [output]}
    queries, documents, scores = posted(
        api,
        (
            f"/v1/encode/{model}",
            {"items": [{"text": QUERY}], "params": {**params, "options": {"is_query": True}}},
        ),
        (f"/v1/encode/{model}", {"items": ITEMS, "params": params}),
        (f"/v1/score/{model}", {"query": {"text": QUERY}, "items": ITEMS}),
    )
    (query,) = (np.atleast_2d(item[output]["values"]) for item in queries.json()["items"])
    vectors = [np.atleast_2d(item[output]["values"]) for item in documents.json()["items"]]
    assert [item["id"] for item in documents.json()["items"]] == [item["id"] for item in ITEMS]
    order = np.argsort(-maxsim(query, vectors), kind="stable")
    assert [DOCUMENTS[row] for row in order] == [DOCUMENTS[int(place["item_id"])] for place in scores.json()["scores"]]
    (_, tokens), ours = scores.json()["usage"].popitem(), queries.json()["usage"]["input_tokens"]
    assert tokens == documents.json()["usage"]["input_tokens"] + len(DOCUMENTS) * ours


def test_a_model_of_another_kind_and_another_output_are_refused(api):
    other_kind, other_output = posted(
        api, ("/v1/encode/classifier", {"items": ITEMS}), ("/v1/encode/org/late", {"items": ITEMS})
    )
    assert (other_kind.status_code, other_output.status_code) == (400, 400)
    assert other_kind.json()["detail"] == {
        "code": "INVALID_INPUT",
        "message": "this model gives scores and no vectors, models of the kinds 'late interaction' and "
        "'one vector per text' can encode",
    }
    assert other_output.json()["message"] == "the output of this model is 'multivector', got 'dense'"
