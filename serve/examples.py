"""Requests for the OpenAPI page, one per protocol, that can be sent as they stand."""

from typing import Any

from pydantic import BaseModel

from serve.wires import cohere, mixedbread, nim, sie, tei, vllm_score

_QUERY = "How do I copy a dictionary?"
_TEXTS = ["Sockets are end points of a connection.", "dict.copy() returns a shallow copy of the dictionary."]

_COHERE = {"query": _QUERY, "documents": _TEXTS, "top_n": 1, "return_documents": True}
_VOYAGE = {"query": _QUERY, "documents": _TEXTS, "top_k": 1, "truncation": True}
_TEI = {"query": _QUERY, "texts": _TEXTS}

# Path: what the page says, the body's model, and examples by name.
DOCUMENTED: dict[str, tuple[str, type[BaseModel], dict[str, Any]]] = {
    "/v1/rerank": (
        "Rank documents (Cohere v1, Jina, vLLM, Voyage)",
        cohere.Body,
        {"Cohere": _COHERE, "Voyage": _VOYAGE},
    ),
    "/v2/rerank": ("Rank documents (Cohere v2)", cohere.Body, {"Cohere": {"query": _QUERY, "documents": _TEXTS}}),
    "/rerank": ("Rank texts (text-embeddings-inference, vLLM, Infinity)", tei.Body, {"TEI": _TEI, "Infinity": _COHERE}),
    "/v1/reranking": (
        "Rank an input (Mixedbread, llama.cpp)",
        mixedbread.Body,
        {"Mixedbread": {"query": _QUERY, "input": _TEXTS, "top_k": 1, "return_input": True}, "llama.cpp": _COHERE},
    ),
    "/v1/ranking": (
        "Rank passages (NVIDIA NIM)",
        nim.Body,
        {"NIM": {"query": {"text": _QUERY}, "passages": [{"text": text} for text in _TEXTS]}},
    ),
    "/v1/score": (
        "Score pairs in their order (vLLM)",
        vllm_score.Body,
        {"one to many": {"text_1": _QUERY, "text_2": _TEXTS}, "row by row": {"queries": _TEXTS, "documents": _TEXTS}},
    ),
    "/v1/score/{model}": (
        "Score items (SIE; msgpack unless JSON is asked for)",
        sie.Body,
        {
            "SIE": {
                "query": {"text": _QUERY},
                "items": [{"id": str(row), "text": text} for row, text in enumerate(_TEXTS)],
            }
        },
    ),
}


def documentation(path: str) -> dict[str, Any]:
    """What the OpenAPI page says of a documented path beside its summary."""
    _, kind, examples = DOCUMENTED[path]
    named = {name: {"summary": name, "value": value} for name, value in examples.items()}
    content = {"application/json": {"schema": kind.model_json_schema(), "examples": named}}
    extra: dict[str, Any] = {"requestBody": {"required": True, "content": content}}
    if "{model}" in path:
        extra["parameters"] = [{"name": "model", "in": "path", "required": True, "schema": {"type": "string"}}]
    return extra
