"""Cohere v1 and v2, which Jina, vLLM and Infinity share: `query`, `documents`, `top_n` in, `results` out.

Sources: https://docs.cohere.com/reference/rerank, https://api.jina.ai/redoc (Reranker), vLLM's and Infinity's servers.
"""

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any

from pydantic import Field

from rerank.types import RerankRequest
from serve.errors import body_for_all as error
from serve.wires import ParsedRequest, RankingResponse
from serve.wires.fields import Documents, Query, Refused
from serve.wires.options import VllmOptions
from serve.wires.read import check_count, read_body, read_texts, text_fields_of
from serve.wires.write import echoing, entries, usage

__all__ = ["STATUS", "Body", "error", "parse"]

STATUS: Mapping[str, int] = {}

_DOCUMENTS_PER_SEARCH_UNIT = 100

# LlamaIndex's class for SiliconFlow always sends 1024 chunks and 80 tokens, whether or not its user chose them.
_ONE_CHUNK = "a document is read as one chunk, which is cut at the model's limit"


class Body(VllmOptions):
    """A rerank request. A field that is null counts as left out."""

    model: str | None = Field(default=None, description="A name from GET /v1/models; the first one if left out.")
    query: Query
    documents: Documents = Field(description="Strings, or objects with `text` (or with the fields in `rank_fields`).")
    top_n: int | None = Field(
        default=None,
        description="Number of results, best first; all if left out. vLLM's 0 means all beside truncate_prompt_tokens.",
        json_schema_extra={"minimum": 0},
    )
    return_documents: bool | None = Field(default=None, description="Return each document's text beside its score.")
    rank_fields: list[str] | None = Field(
        default=None, description="Fields of document objects that are scored.", json_schema_extra={"minItems": 1}
    )
    raw_scores: bool | None = Field(default=None, description="Return logits instead of relevance scores (Infinity).")
    return_len: bool | None = Field(default=None, description="Add `tokens` to `meta` (Xinference).")
    relevant_spans: Annotated[Any, Refused("no model here returns spans", neutral=({"mode": "disabled"},))] = None
    max_chunks_per_doc: Annotated[Any, Refused(_ONE_CHUNK, neutral=(1,), client_defaults=(1024,))] = None
    overlap_tokens: Annotated[Any, Refused(_ONE_CHUNK, neutral=(0,), client_defaults=(80,))] = None
    max_doc_length: Annotated[Any, Refused("max_tokens_per_doc limits documents here")] = None
    return_embeddings: Annotated[Any, Refused("cross-encoders have no embeddings")] = None
    parameters: Annotated[Any, Refused("options are fields of the body itself")] = None
    kwargs: Annotated[Any, Refused("options are fields of the body itself", neutral=("{}",))] = None


def parse(values: Mapping[str, Any], *, least_top_n: int = 1) -> ParsedRequest:
    """Read a request. Raises InputError naming the field."""
    body = read_body(Body, values)
    texts = read_texts(body.documents, "documents", text_fields=text_fields_of(body.rank_fields))
    top_k = check_count(body.top_n, "top_n", least=least_top_n)
    request = RerankRequest(
        body.query, texts, top_k, token_limits=body.token_limits, instruction=body.chosen_instruction
    )
    return ParsedRequest(body.model, request, partial(_render, body, texts))


def _render(body: Body, texts: tuple[str, ...], response: RankingResponse) -> dict[str, Any]:
    scored = entries(response.result.ranked, "relevance_score", raw=bool(body.raw_scores) or body.wants_logits)
    originals = [{"text": text} for text in texts] if body.return_documents else None
    meta: dict[str, Any] = {"billed_units": {"search_units": -(-len(texts) // _DOCUMENTS_PER_SEARCH_UNIT)}}
    if body.return_len:
        meta["tokens"] = {"input_tokens": response.result.tokens, "output_tokens": 0}
    return {
        "id": body.request_id or response.id,
        "model": response.model,
        "results": list(echoing(scored, "document", originals)),
        "usage": usage(response.result),
        "meta": meta,
    }
