"""Bodies of every kind: any JSON, documented examples with something changed, and what the documentation allows."""

import json
from copy import deepcopy
from datetime import UTC
from typing import Any

from hypothesis import strategies as st

from serve.http.examples import DOCUMENTED

DASHSCOPE = "/api/v1/services/rerank/text-rerank/text-rerank"
PATHS = (
    "/v1/rerank",
    "/v2/rerank",
    "/rerank",
    "/v1/v2/rerank",
    "/v1//rerank",
    "/v1/reranking",
    "/reranking",
    "/v1/ranking",
    "/score",
    "/v1/score",
    "/v1/score/length",
    "/v1/score/org/none",
    "/v1/encode/length",
    "/predict",
    "/weaviate/rerank",
    DASHSCOPE,
    "/v1/reranks",
)
SIE = ("/v1/score/", "/v1/encode/")
BY_PATH = ("/predict", "/weaviate/rerank", DASHSCOPE, "/v1/reranks")
_EXAMPLES = {path: [dialect.body for dialect in examples.values()] for path, (_, examples) in DOCUMENTED.items()}
_OPTIONS = (
    *("model", "rank_fields", "raw_scores", "return_text", "return_documents", "data_1", "data_2"),
    *("instruction", "instruct", "options", "truncate", "truncation", "truncate_prompt_tokens", "max_tokens_per_doc"),
    *("max_chunks_per_doc", "priority", "relevant_spans", "request_id", "return_len", "use_activation", "user"),
    *("is_query", "output_dtype", "output_types", "property", "instruct"),
)
_KEYS = (*_OPTIONS, "id", "text", *sorted({key for bodies in _EXAMPLES.values() for body in bodies for key in body}))

_texts = st.one_of(st.text(max_size=12), st.sampled_from(["\ud800", " ", "length", "short", "0", "a" * 61]))
_numbers = st.one_of(st.integers(), st.floats(), st.sampled_from([0, 1, -1, 2**63, 2**64, 10**30, float("inf")]))
_scalars = st.one_of(st.none(), st.booleans(), _numbers, _texts)
_mostly = st.sampled_from([True] * 9 + [False])
_names = st.one_of(st.sampled_from(_KEYS), _texts)


def _nested(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    inner = st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=6) | st.dictionaries(_names, inner, max_size=6),
        max_leaves=12,
    )
    return inner | st.fixed_dictionaries({"text": st.sampled_from(["a", "bb"])}, optional={"id": inner, "more": inner})


anything = _nested(_scalars)
"""Any JSON value, objects with a text among them."""

packable = _nested(st.one_of(_scalars, st.binary(max_size=8), st.datetimes(timezones=st.just(UTC))))
"""Values that msgpack can spell, and some that JSON cannot."""


def examples_for(path: str) -> list[dict[str, Any]]:
    """The documented bodies of a path; of all paths that share a table of keys for each of those."""
    if path.startswith(SIE):
        return _EXAMPLES[path[: path.index("/", len("/v1/"))] + "/{model}"]
    if "score" in path:
        return _EXAMPLES["/v1/score"]
    if path in BY_PATH:
        return _EXAMPLES[path]
    return [
        body
        for documented, bodies in _EXAMPLES.items()
        if "score" not in documented and documented not in BY_PATH and not documented.startswith(SIE)
        for body in bodies
    ]


@st.composite
def changed(draw: st.DrawFn, path: str, values: st.SearchStrategy[Any] = anything) -> dict[str, Any]:
    """A documented body of a path after up to three changes: an entry anywhere dropped, replaced or added."""
    body: dict[str, Any] = deepcopy(draw(st.sampled_from(examples_for(path))))
    for _ in range(draw(st.integers(0, 3))):
        place: Any = body
        while inner := [value for value in _entries(place) if isinstance(value, list | dict) and value]:
            if draw(st.booleans()):
                break
            place = draw(st.sampled_from(inner))
        if isinstance(place, list):
            key = draw(st.integers(0, len(place) - 1))
            place[key : key + 1] = draw(st.lists(values, max_size=2))
        elif draw(_mostly):
            place[draw(st.sampled_from([*place, *_OPTIONS]))] = draw(values)
        else:
            place.pop(draw(st.sampled_from([*place])), None)
        if not body:
            break
    return body


@st.composite
def extended(draw: st.DrawFn, path: str, values: st.SearchStrategy[Any] = anything) -> dict[str, Any]:
    """A documented body of a path whose texts became objects, with ids and more of any kind, and all of it echoed."""

    def with_more(entry: Any) -> dict[str, Any]:
        more = draw(st.fixed_dictionaries({}, optional={"id": values, "more": values}))
        return {**more, **(entry if isinstance(entry, dict) else {"text": entry})}

    body = draw(st.sampled_from(examples_for(path)))
    lists = {key: list(map(with_more, value)) for key, value in body.items() if isinstance(value, list)}
    return {**body, **lists, "return_input": True, "return_documents": True, "more": draw(values)}


def _entries(place: Any) -> list[Any]:
    return list(place.values()) if isinstance(place, dict) else place


def allowed(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values that a JSON schema allows, of the keywords that pydantic writes for the bodies here."""
    if "anyOf" in schema:
        return st.one_of(*map(allowed, schema["anyOf"]))
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    match schema.get("type"):
        case "object" if "properties" in schema:
            fields = {name: allowed(field) for name, field in schema["properties"].items()}
            required = {name: fields.pop(name) for name in schema.get("required", ())}
            return st.fixed_dictionaries(required, optional=fields)
        case "object":
            return st.fixed_dictionaries({}, optional={"text": _texts, "id": _texts}) | st.dictionaries(
                _names, _scalars
            )
        case "array":
            return st.lists(allowed(schema.get("items", {})), max_size=6)
        case "string":
            return _texts
        case "integer":
            return st.integers()
        case "boolean":
            return st.booleans()
        case "null":
            return st.none()
    return _texts | st.lists(_texts, max_size=6) | st.fixed_dictionaries({"text": _texts}) | anything


@st.composite
def spelled(draw: st.DrawFn, values: st.SearchStrategy[Any]) -> bytes:
    """JSON of a value: with numbers that overflow, or with a byte changed, or as it is."""
    text = json.dumps(draw(values))
    if draw(_mostly):
        text = text.replace("Infinity", "1e999").replace("NaN", "1e-999")
    content = bytearray(text.encode())
    if not draw(_mostly):
        content[draw(st.integers(0, len(content) - 1))] = draw(st.integers(0, 255))
    return bytes(content)
