"""Writing response bodies: the parts that several protocols share."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from rerank.types import RankedDocument, RerankResult


def decimal(score: float) -> float:
    """Return the float whose shortest decimal identifies the same float32 as `score`."""
    return float(str(np.float32(score)))


def entries(ranked: Iterable[RankedDocument], name: str, *, raw: bool = False) -> Iterator[dict[str, Any]]:
    """Yield the index and relevance score (`raw`: logit) of each document, best first; the score's field is `name`."""
    for document in ranked:
        yield {"index": document.index, name: decimal(document.logit if raw else document.score)}


def echoing(scored: Iterable[dict[str, Any]], name: str, originals: Sequence[Any] | None) -> Iterator[dict[str, Any]]:
    """Yield the entries, each with its original document in the field `name`; unchanged if `originals` is None."""
    for entry in scored:
        yield entry if originals is None else {**entry, name: originals[entry["index"]]}


def in_input_order(ranked: Iterable[RankedDocument], *, raw: bool = False) -> list[float]:
    """Return the relevance scores (`raw`: logits) of documents that were all ranked, in the order of the request."""
    documents = sorted(ranked, key=lambda document: document.index)
    return [decimal(document.logit if raw else document.score) for document in documents]


def usage(result: RerankResult) -> dict[str, int]:
    """Return the number of tokens read, special tokens included. Nothing is generated, so both counts are equal."""
    return {"prompt_tokens": result.tokens, "total_tokens": result.tokens}
