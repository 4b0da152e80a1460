"""The OpenAPI page: an example request per protocol, ready to send, and what each path accepts and returns."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from serve.http import response_schemas as schemas
from serve.http.codec import MSGPACK
from serve.wires import cohere, dashscope, mixedbread, nim, vllm_score, voyage, weaviate
from serve.wires.fields import Informational, Refused
from serve.wires.sie import encode as sie_encode
from serve.wires.sie import score as sie_score
from serve.wires.tei import predict as tei_predict
from serve.wires.tei import rerank as tei

_QUERY = "How do I copy a dictionary?"
_TEXTS = ["Sockets are end points of a connection.", "dict.copy() returns a shallow copy of the dictionary."]
_OBJECTS = [{"text": text} for text in _TEXTS]
_ITEMS = [{"id": str(row), "text": text} for row, text in enumerate(_TEXTS)]


@dataclass(frozen=True, slots=True)
class Dialect:
    """A protocol: the class that reads its bodies, the JSON schema of its responses, and an example body."""

    kind: type[BaseModel]
    response: schemas.Schema
    body: dict[str, Any]


def _cohere(**body: Any) -> Dialect:
    return Dialect(cohere.Body, schemas.COHERE, {"query": _QUERY, **body})


def _score(**body: Any) -> Dialect:
    return Dialect(vllm_score.Body, schemas.VLLM_SCORE, body)


_COHERE = _cohere(documents=_TEXTS, top_n=1, return_documents=True)
_COHERE_2 = _cohere(documents=_TEXTS, max_tokens_per_doc=4096)
_JINA = _cohere(documents=_OBJECTS, top_n=1, return_documents=False)
_VLLM = _cohere(documents=_TEXTS, top_n=0, truncate_prompt_tokens=-1)
_INFINITY = _cohere(documents=_TEXTS, raw_scores=True)
_VOYAGE = Dialect(voyage.Body, schemas.VOYAGE, {"query": _QUERY, "documents": _TEXTS, "top_k": 1, "truncation": True})
_TEI = Dialect(tei.Body, schemas.TEI, {"query": _QUERY, "texts": _TEXTS, "return_text": True})
_MIXEDBREAD = Dialect(
    mixedbread.Body, schemas.MIXEDBREAD, {"query": _QUERY, "input": _TEXTS, "top_k": 1, "return_input": True}
)
_NIM = Dialect(nim.Body, schemas.NIM, {"query": {"text": _QUERY}, "passages": _OBJECTS, "truncate": "END"})
_TEI_PREDICT = Dialect(tei_predict.Body, schemas.TEI_PREDICT, {"inputs": [[_QUERY, text] for text in _TEXTS]})
_WEAVIATE = Dialect(weaviate.Body, schemas.WEAVIATE, {"query": _QUERY, "documents": _TEXTS})
_DASHSCOPE = Dialect(
    dashscope.Body,
    schemas.DASHSCOPE,
    {"input": {"query": _QUERY, "documents": _TEXTS}, "parameters": {"top_n": 1, "return_documents": True}},
)
_SIE = Dialect(sie_score.Body, schemas.SIE, {"query": {"text": _QUERY}, "items": _ITEMS})
_SIE_VECTORS = Dialect(
    sie_encode.Body, schemas.SIE_VECTORS, {"items": _ITEMS, "params": {"output_types": ["multivector"]}}
)

# Path: its summary, and its protocols by name.
DOCUMENTED: dict[str, tuple[str, dict[str, Dialect]]] = {
    "/v1/rerank": (
        "Rank documents (Cohere v1, Jina, Voyage)",
        {"Cohere": _COHERE, "Jina": _JINA, "Voyage": _VOYAGE},
    ),
    "/v2/rerank": ("Rank documents (Cohere v2)", {"Cohere": _COHERE_2}),
    "/rerank": (
        "Rank texts (text-embeddings-inference, vLLM, Infinity)",
        {"TEI": _TEI, "vLLM": _VLLM, "Infinity": _INFINITY},
    ),
    "/v1/reranking": ("Rank an input (Mixedbread, llama.cpp)", {"Mixedbread": _MIXEDBREAD, "llama.cpp": _COHERE}),
    "/v1/ranking": ("Rank passages (NVIDIA NIM)", {"NIM": _NIM}),
    "/v1/score": (
        "Score pairs in their order (vLLM)",
        {"one to many": _score(text_1=_QUERY, text_2=_TEXTS), "row by row": _score(queries=_TEXTS, documents=_TEXTS)},
    ),
    "/predict": ("Score pairs in their order (text-embeddings-inference)", {"TEI predict": _TEI_PREDICT}),
    "/weaviate/rerank": ("Score documents in their order (Weaviate)", {"Weaviate": _WEAVIATE}),
    "/api/v1/services/rerank/text-rerank/text-rerank": ("Rank documents (DashScope)", {"DashScope": _DASHSCOPE}),
    "/v1/reranks": ("Rank documents (DashScope's second path)", {"DashScope, as Jina": _JINA}),
    "/v1/score/{model}": ("Score items (SIE; msgpack unless the client accepts JSON)", {"SIE": _SIE}),
    "/v1/encode/{model}": (
        "Encode items as vectors (SIE; msgpack unless the client accepts JSON)",
        {"SIE encode": _SIE_VECTORS},
    ),
}


def documentation(path: str) -> dict[str, Any]:
    """Return what the OpenAPI page says about a documented path besides its summary and description."""
    _, dialects = DOCUMENTED[path]
    examples = {name: {"summary": name, "value": dialect.body} for name, dialect in dialects.items()}
    content = {"application/json": {"schema": _any_of(_bodies(dialects)), "examples": examples}}
    distinct = {id(dialect.response): dialect.response for dialect in dialects.values()}
    is_sie = "{model}" in path
    types = ("application/json", MSGPACK) if is_sie else ("application/json",)
    extra: dict[str, Any] = {
        "requestBody": {"required": True, "content": content},
        "responses": {
            **schemas.success(_any_of(list(distinct.values())), *types),
            **schemas.errors(),
        },
    }
    if is_sie:
        extra["parameters"] = [schemas.MODEL_IN_PATH]
    return extra


def describe_options(path: str) -> str:
    """Return Markdown for a documented path: per kind of body, the fields that are honoured, refused and ignored."""
    paragraphs = []
    for kind, names in _names_by_kind(DOCUMENTED[path][1]).items():
        honoured, informational = [], []
        refused: dict[str, list[str]] = {}
        for name, field in kind.model_fields.items():
            refusal = next((mark for mark in field.metadata if isinstance(mark, Refused)), None)
            if refusal is not None:
                refused.setdefault(f"must be {refusal.accepted}: {refusal.reason}", []).append(f"`{name}`")
            elif any(isinstance(mark, Informational) for mark in field.metadata):
                informational.append(f"`{name}`")
            else:
                honoured.append(f"`{name}`")
        refusals = [f"{', '.join(fields)} ({rule})" for rule, fields in refused.items()]
        lines = [
            f"- Honoured: {', '.join(honoured)}.",
            f"- Refused with an error that names the field: {'; '.join(refusals) or 'none'}.",
            f"- Accepted without effect: {', '.join(informational) or 'none'}.",
            "- Fields that are not listed here are ignored.",
        ]
        paragraphs.append(f"**{', '.join(names)}**\n\n" + "\n".join(lines))
    return "\n\n".join(paragraphs)


def _bodies(dialects: Mapping[str, Dialect]) -> list[dict[str, Any]]:
    """Return the schema of each kind of body, titled with the names of its dialects."""
    return [{**_schema_of(kind), "title": ", ".join(names)} for kind, names in _names_by_kind(dialects).items()]


def _schema_of(kind: type[BaseModel]) -> dict[str, Any]:
    """Return the schema of a body without references, which would not hold inside of the OpenAPI document."""
    schema = kind.model_json_schema()
    definitions = schema.pop("$defs", {})

    def inlined(value: Any) -> Any:
        if isinstance(value, list):
            return [inlined(entry) for entry in value]
        if not isinstance(value, dict):
            return value
        if "$ref" in value:
            return inlined(definitions[value["$ref"].rpartition("/")[2]])
        return {name: inlined(entry) for name, entry in value.items()}

    resolved: dict[str, Any] = inlined(schema)
    return resolved


def _names_by_kind(dialects: Mapping[str, Dialect]) -> dict[type[BaseModel], list[str]]:
    names: dict[type[BaseModel], list[str]] = {}
    for name, dialect in dialects.items():
        names.setdefault(dialect.kind, []).append(name)
    return names


def _any_of(schemas: list[dict[str, Any]]) -> dict[str, Any]:
    return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}
