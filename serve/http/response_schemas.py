"""JSON schemas of each protocol's response, of errors and of the parameter in a path, for the OpenAPI page."""

from typing import Any

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string"}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_SCORE: Schema = {"type": "number", "minimum": 0, "maximum": 1}
_LOGIT: Schema = {"type": "number"}


def _object(optional: Schema | None = None, /, **fields: Schema) -> Schema:
    return {"type": "object", "properties": {**fields, **(optional or {})}, "required": list(fields)}


def _list(optional: Schema | None = None, /, **fields: Schema) -> Schema:
    return {"type": "array", "items": _object(optional, **fields)}


_USAGE = _object(prompt_tokens=_COUNT, total_tokens=_COUNT)

COHERE = _object(
    id=_TEXT,
    model=_TEXT,
    results=_list(
        {"document": _object(text=_TEXT)},
        index=_COUNT,
        relevance_score={
            **_LOGIT,
            "description": "0 to 1, or a logit (`raw_scores`, `use_activation`)",
        },
    ),
    usage=_USAGE,
    meta=_object(
        {
            "tokens": _object(input_tokens=_COUNT, output_tokens=_COUNT),
            "warnings": {"type": "array", "items": _TEXT},
        },
        billed_units=_object(search_units=_COUNT),
    ),
)
VOYAGE = _object(
    object={"const": "list"},
    data=_list({"document": _TEXT}, index=_COUNT, relevance_score=_SCORE),
    model=_TEXT,
    usage=_USAGE,
)
MIXEDBREAD = _object(
    object={"const": "list"},
    data=_list({"input": {}}, index=_COUNT, score=_SCORE, object={"const": "rank_result"}),
    model=_TEXT,
    usage=_USAGE,
    top_k=_COUNT,
    return_input={"type": "boolean"},
)
TEI = _list({"text": _TEXT}, index=_COUNT, score={**_LOGIT, "description": "0 to 1; a logit if `raw_scores` is true"})
NIM = _object(rankings=_list(index=_COUNT, logit=_LOGIT), usage=_USAGE)
VLLM_SCORE = _object(
    id=_TEXT,
    object={"const": "list"},
    model=_TEXT,
    data=_list(index=_COUNT, object={"const": "score"}, score=_LOGIT),
    usage=_USAGE,
)
_ONE_LABEL = _list(score=_LOGIT, label={"const": "LABEL_0"})
TEI_PREDICT: Schema = {"anyOf": [_ONE_LABEL, {"type": "array", "items": _ONE_LABEL}]}
WEAVIATE: Schema = _object(
    query=_TEXT,
    scores={"anyOf": [_list(document=_TEXT, score=_SCORE), {"type": "null"}]},
    property={"type": ["string", "null"]},
    score={"anyOf": [_SCORE, {"type": "null"}]},
)
DASHSCOPE = _object(
    output=_object(results=_list({"document": _object(text=_TEXT)}, index=_COUNT, relevance_score=_SCORE)),
    usage=_USAGE,
    request_id=_TEXT,
)
SIE = _object(
    {"query_id": _TEXT},
    model=_TEXT,
    scores=_list(item_id=_TEXT, score=_SCORE, rank=_COUNT),
    usage=_object(input_tokens=_COUNT),
)
_VECTOR: Schema = {"type": "array", "items": {"type": "number"}}
_DTYPE: Schema = {"enum": ["float32", "float16"]}
_ENCODED = {
    "id": _TEXT,
    "dense": _object(dims=_COUNT, dtype=_DTYPE, values=_VECTOR),
    "multivector": _object(
        token_dims=_COUNT, num_tokens=_COUNT, dtype=_DTYPE, values={"type": "array", "items": _VECTOR}
    ),
}
SIE_VECTORS = _object(model=_TEXT, items=_list(_ENCODED), usage=_object(input_tokens=_COUNT))

MODEL_IN_PATH: Schema = {"name": "model", "in": "path", "required": True, "schema": _TEXT}

_ERROR = _object({"detail": {}, "error": {}, "error_type": _TEXT}, message=_TEXT)
_STATUSES = {
    400: "The request is invalid; the message names the field.",
    401: "The API key is missing or unknown.",
    404: "No model of this name is served.",
    408: "The request body did not arrive in time.",
    413: "The request body is too large.",
    415: "The request body has a Content-Encoding other than gzip; `Accept-Encoding` names what is read.",
    422: (
        "The request was being scored when two replicas died, and is not tried again. "
        "text-embeddings-inference: the request is invalid; the message names the field."
    ),
    429: "The queue is full; `Retry-After` says when to retry.",
    500: "The server failed.",
    503: "The model is not running at the moment; `Retry-After` says when to retry.",
    504: "The response was not ready in time; the limit is set with `X-Request-Timeout`.",
}


def errors(*statuses: int) -> dict[int | str, Schema]:
    """Return the OpenAPI responses for these error statuses; for all of them by default."""
    content = {"application/json": {"schema": _ERROR}}
    return {str(status): {"description": _STATUSES[status], "content": content} for status in statuses or _STATUSES}


def success(schema: Schema, *media_types: str) -> Schema:
    """Return the OpenAPI response for status 200 with this schema."""
    return {"200": {"description": "Ranked or encoded.", "content": {kind: {"schema": schema} for kind in media_types}}}
