"""The OpenAPI document: its examples work, its page needs nothing from outside, and the server keeps to it."""

import json
import re

import pytest
import schemathesis
from fastapi.openapi.models import OpenAPI
from hypothesis import HealthCheck, given, settings
from jsonschema import Draft202012Validator
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from serve.http.api import create_api
from serve.http.endpoint import Server
from serve.http.examples import DOCUMENTED
from serve.http.limits import Limits
from serve.keys import ApiKeys
from serve.models import Models
from tests.serve.standins import LengthScorer

JSON = {"Accept": "application/json"}
DIALECTS = {
    "Cohere",
    "Jina",
    "Voyage",
    "TEI",
    "vLLM",
    "Infinity",
    "Mixedbread",
    "llama.cpp",
    "NIM",
    "SIE",
    "SIE encode",
    "TEI predict",
    "Weaviate",
    "DashScope",
    "DashScope, as Jina",
}
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]

schema = schemathesis.openapi.from_asgi(
    "/openapi.json",
    create_api(Server(Models({"length": LengthScorer()}, {"short": "length"}), Limits(documents=5))),
)
SENT = [
    (operation, mode)
    for operation in (result.ok() for result in schema.get_all_operations())
    for mode in GenerationMode
    if operation.path in DOCUMENTED or mode is GenerationMode.POSITIVE  # without a body nothing can be wrong
]


@pytest.fixture
def document(client):
    return client("/openapi.json", "GET").json()


def test_every_dialect_has_an_example_that_works_and_is_answered_as_documented(client, document):
    sent = set()
    for path, methods in document["paths"].items():
        if "post" not in methods:
            continue
        answer_of = methods["post"]["responses"]["200"]["content"]["application/json"]["schema"]
        for name, example in methods["post"]["requestBody"]["content"]["application/json"]["examples"].items():
            answer = client(path.replace("{model}", "length"), json=example["value"], headers=JSON)
            assert answer.status_code == 200, (path, name, answer.text)
            Draft202012Validator(answer_of).validate(answer.json())
            sent.add(name)
    assert sent >= DIALECTS


def test_it_is_valid_and_its_examples_are_what_its_schemas_allow(document):
    OpenAPI.model_validate(document)
    operations = [operation for methods in document["paths"].values() for operation in methods.values()]
    assert len({operation["operationId"] for operation in operations}) == len(operations)
    assert "$ref" not in json.dumps(document)
    for operation in operations:
        content = operation.get("requestBody", {}).get("content", {}).get("application/json", {"schema": True})
        Draft202012Validator.check_schema(content["schema"])
        for example in content.get("examples", {}).values():
            Draft202012Validator(content["schema"]).validate(example["value"])


def test_its_page_loads_only_what_the_server_has(client):
    page = client("/docs", "GET")
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(loaded) == 3 and all(place.startswith("/") for place in loaded)
    assert "http" not in page.text
    assert [client(place, "GET").status_code for place in loaded] == [200] * 3


def test_where_there_are_keys_the_page_asks_for_one_and_the_probes_do_not():
    document = create_api(
        Server(Models({"length": LengthScorer()}), api_keys=ApiKeys(fixed={"me": "secret"}))
    ).openapi()
    open_paths = {
        path for path, methods in document["paths"].items() for one in methods.values() if "security" not in one
    }
    weaviate = {"/weaviate/.well-known/live", "/weaviate/.well-known/ready"}
    assert open_paths == {"/health", "/healthz", "/readyz", "/v1/cluster/auth", *weaviate}


@pytest.mark.parametrize(("operation", "mode"), SENT, ids=lambda value: getattr(value, "label", value))
def test_the_server_keeps_to_it(operation, mode):
    @settings(max_examples=30 if operation.path in DOCUMENTED else 1, suppress_health_check=HealthCheck)
    @given(case=operation.as_strategy(mode, path_parameters={"model": "length"} if "{" in operation.path else None))
    def send(case):
        case.call_and_validate(headers=JSON, checks=CHECKS)

    send()
