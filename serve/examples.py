"""Requests for the OpenAPI page, one per protocol, that can be sent as they stand."""

from typing import Any

from pydantic import BaseModel

from serve.wires import cohere, mixedbread, nim, sie, tei, vllm_score, voyage

_QUERY = "How do I copy a dictionary?"
_TEXTS = ["Sockets are end points of a connection.", "dict.copy() returns a shallow copy of the dictionary."]

_Example = tuple[type[BaseModel], dict[str, Any]]  # the body's model, and a body

_COHERE: _Example = (cohere.Body, {"query": _QUERY, "documents": _TEXTS, "top_n": 1, "return_documents": True})
_COHERE_2: _Example = (cohere.Body, {"query": _QUERY, "documents": _TEXTS})
_VOYAGE: _Example = (voyage.Body, {"query": _QUERY, "documents": _TEXTS, "top_k": 1, "truncation": True})
_TEI: _Example = (tei.Body, {"query": _QUERY, "texts": _TEXTS})
_MIXEDBREAD: _Example = (mixedbread.Body, {"query": _QUERY, "input": _TEXTS, "top_k": 1, "return_input": True})
_NIM: _Example = (nim.Body, {"query": {"text": _QUERY}, "passages": [{"text": text} for text in _TEXTS]})
_ONE_TO_MANY: _Example = (vllm_score.Body, {"text_1": _QUERY, "text_2": _TEXTS})
_ROW_BY_ROW: _Example = (vllm_score.Body, {"queries": _TEXTS, "documents": _TEXTS})
_ITEMS = [{"id": str(row), "text": text} for row, text in enumerate(_TEXTS)]
_SIE: _Example = (sie.Body, {"query": {"text": _QUERY}, "items": _ITEMS})

# Path: what the page says, and examples by name.
DOCUMENTED: dict[str, tuple[str, dict[str, _Example]]] = {
    "/v1/rerank": ("Rank documents (Cohere v1, Jina, vLLM, Voyage)", {"Cohere": _COHERE, "Voyage": _VOYAGE}),
    "/v2/rerank": ("Rank documents (Cohere v2)", {"Cohere": _COHERE_2}),
    "/rerank": ("Rank texts (text-embeddings-inference, vLLM, Infinity)", {"TEI": _TEI, "Infinity": _COHERE}),
    "/v1/reranking": ("Rank an input (Mixedbread, llama.cpp)", {"Mixedbread": _MIXEDBREAD, "llama.cpp": _COHERE}),
    "/v1/ranking": ("Rank passages (NVIDIA NIM)", {"NIM": _NIM}),
    "/v1/score": ("Score pairs in their order (vLLM)", {"one to many": _ONE_TO_MANY, "row by row": _ROW_BY_ROW}),
    "/v1/score/{model}": ("Score items (SIE; msgpack unless JSON is asked for)", {"SIE": _SIE}),
}


def documentation(path: str) -> dict[str, Any]:
    """What the OpenAPI page says of a documented path beside its summary."""
    _, examples = DOCUMENTED[path]
    named = {name: {"summary": name, "value": value} for name, (_, value) in examples.items()}
    schemas = {kind: {**kind.model_json_schema(), "title": name} for name, (kind, _) in examples.items()}
    content = {"application/json": {"schema": {"anyOf": list(schemas.values())}, "examples": named}}
    extra: dict[str, Any] = {"requestBody": {"required": True, "content": content}}
    if "{model}" in path:
        extra["parameters"] = [{"name": "model", "in": "path", "required": True, "schema": {"type": "string"}}]
    return extra
