"""DashScope (Alibaba Model Studio): `input` and `parameters` in, `output.results` out.

Its second path, `…/reranks`, follows Jina's protocol, see `serve.wires.cohere`.
Source: https://help.aliyun.com/zh/model-studio/text-rerank-api
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

from pydantic import BaseModel, Field

from rerank.errors import InputError
from rerank.types import RerankRequest
from serve.errors import ErrorResponse, body_for_all
from serve.wires import ParsedRequest, RankingResponse
from serve.wires.fields import Count, Instruction, Query, TextsOrObjects
from serve.wires.read import check_count, read_body, read_instruction, read_texts, refuse_fields
from serve.wires.write import echoing, entries, usage

__all__ = ["STATUS", "Body", "error", "parse"]

STATUS: Mapping[str, int] = {}


class Input(BaseModel):
    """What is ranked."""

    query: Query
    documents: TextsOrObjects


class Parameters(BaseModel):
    """Options."""

    top_n: Count = Field(default=None, description="Number of results, best first; all if left out.")
    return_documents: bool | None = Field(default=None, description="Return each document's text beside its score.")
    instruct: Instruction = None


class Body(BaseModel):
    """A rerank request; its texts are in `input`, its options in `parameters`."""

    model: str | None = None
    input: Input
    parameters: Parameters | None = None


def parse(values: Mapping[str, Any]) -> ParsedRequest:
    """Read a request. Raises InputError naming the field."""
    body = read_body(Body, values)
    parameters = body.parameters or Parameters()
    if not body.input.documents:
        raise InputError("input.documents must hold at least one document, got none")
    refuse_fields(body.input.documents, "input.documents", ("image", "video"))
    texts = read_texts(body.input.documents, "input.documents", may_be_blank=True)
    top_k = check_count(parameters.top_n, "parameters.top_n")
    instruction = read_instruction(**{"parameters.instruct": parameters.instruct})
    request = RerankRequest(body.input.query, texts, top_k, instruction=instruction)
    echoed = texts if parameters.return_documents else None
    return ParsedRequest(body.model, request, partial(_render, echoed), "input.documents", "input.query")


def _render(echoed: tuple[str, ...] | None, response: RankingResponse) -> dict[str, Any]:
    originals = None if echoed is None else [{"text": text} for text in echoed]
    results = echoing(entries(response.result.ranked, "relevance_score"), "document", originals)
    return {"output": {"results": list(results)}, "usage": usage(response.result), "request_id": response.id}


def error(failure: ErrorResponse) -> dict[str, Any]:
    """Return an error body with the `code` that DashScope's SDK reads beside `message`."""
    return {"code": failure.code, **body_for_all(failure)}
