"""Cohere v1 and v2, which Jina, vLLM and Infinity share: `query`, `documents`, `top_n` in, `results` out.

Sources: https://docs.cohere.com/reference/rerank, https://api.jina.ai/redoc (Reranker), vLLM's and Infinity's servers.
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from rerank.types import PassageLimits, RankedDocument, RerankRequest
from serve.errors import body_for_all as error
from serve.wires import ParsedRequest, RankingResponse
from serve.wires.fields import Documents, Integer, Query, Refused
from serve.wires.options import VllmOptions
from serve.wires.read import check_count, check_least, read_body, read_texts, refusal_without_passages, text_fields_of
from serve.wires.write import decimal, echoing, entries, usage

__all__ = ["STATUS", "Body", "error", "parse"]

STATUS: Mapping[str, int] = {}

_DOCUMENTS_PER_SEARCH_UNIT = 100

_NO_PASSAGES = "this model is served without passages"
_SPAN_THRESHOLD = 0.1  # Cohere's default


class RelevantSpans(BaseModel):
    """Which passages to return: the best one of a document, unless its relevance score is below `threshold`."""

    mode: Literal["enabled", "disabled"]
    threshold: float | None = Field(default=None, ge=0, le=1)
    max_spans: int | None = Field(default=None, ge=1)


class Body(VllmOptions):
    """A rerank request. A field that is null counts as left out."""

    model: str | None = Field(default=None, description="A name from GET /v1/models; the first one if left out.")
    query: Query
    documents: Documents = Field(description="Strings, or objects with `text` (or with the fields in `rank_fields`).")
    top_n: Integer | None = Field(
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
    relevant_spans: Annotated[
        RelevantSpans | None, Refused(_NO_PASSAGES, neutral=({"mode": "disabled"},), needs_passages=True)
    ] = None
    # LlamaIndex's class for SiliconFlow always sends 1024 chunks and 80 tokens, whether or not its user chose them.
    max_chunks_per_doc: Annotated[
        int | None, Refused(_NO_PASSAGES, neutral=(1,), client_defaults=(1024,), needs_passages=True)
    ] = None
    overlap_tokens: Annotated[
        int | None, Refused(_NO_PASSAGES, neutral=(0,), client_defaults=(80,), needs_passages=True)
    ] = None
    max_doc_length: Annotated[Any, Refused("max_tokens_per_doc limits documents here")] = None
    return_embeddings: Annotated[Any, Refused("cross-encoders have no embeddings")] = None
    parameters: Annotated[Any, Refused("options are fields of the body itself")] = None
    kwargs: Annotated[Any, Refused("options are fields of the body itself", neutral=("{}",))] = None


def parse(values: Mapping[str, Any]) -> ParsedRequest:
    """Read a request. Raises InputError naming the field."""
    body = read_body(Body, values)
    texts = read_texts(body.documents, "documents", text_fields=text_fields_of(body.rank_fields), may_be_blank=True)
    is_vllm = "truncate_prompt_tokens" in values  # its clients mean all by 0
    request = RerankRequest(
        body.query,
        texts,
        check_count(body.top_n, "top_n", least=0 if is_vllm else 1),
        token_limits=body.token_limits,
        passage_limits=PassageLimits(
            check_least(body.max_chunks_per_doc, "max_chunks_per_doc", 1),
            check_least(body.overlap_tokens, "overlap_tokens", 0),
        ),
        instruction=body.chosen_instruction,
    )
    refusal = refusal_without_passages(Body, values)
    return ParsedRequest(body.model, request, partial(_render, body, texts), without_passages=refusal)


def _render(body: Body, texts: tuple[str, ...], response: RankingResponse) -> dict[str, Any]:
    scored = entries(response.result.ranked, "relevance_score", raw=bool(body.raw_scores) or body.wants_logits)
    if body.relevant_spans is not None and body.relevant_spans.mode == "enabled":
        scored = _with_spans(scored, response.result.ranked, body.relevant_spans)
    originals = [{"text": text} for text in texts] if body.return_documents else None
    meta: dict[str, Any] = {"billed_units": {"search_units": -(-len(texts) // _DOCUMENTS_PER_SEARCH_UNIT)}}
    if body.return_len:
        meta["tokens"] = {"input_tokens": response.result.tokens, "output_tokens": 0}
    if response.warnings:
        meta["warnings"] = list(response.warnings)
    return {
        "id": body.request_id or response.id,
        "model": response.model,
        "results": list(echoing(scored, "document", originals)),
        "usage": usage(response.result),
        "meta": meta,
    }


def _with_spans(
    scored: Iterable[dict[str, Any]], ranked: Iterable[RankedDocument], spans: RelevantSpans
) -> Iterator[dict[str, Any]]:
    """Yield the entries, each with the best passage of its document if that is relevant enough."""
    threshold = _SPAN_THRESHOLD if spans.threshold is None else spans.threshold
    for entry, document in zip(scored, ranked, strict=True):
        if document.best_passage is None or document.best_passage.score < threshold:
            yield entry
        else:
            start, end, score = document.best_passage
            yield {**entry, "relevant_spans": [{"start": start, "end": end, "score": decimal(score)}]}
