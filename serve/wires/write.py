"""Writing answers: the parts that several wires share."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from rerank.types import RankedDocument, RerankResult


def decimal(score: float) -> float:
    """A float32 as the float that prints with the fewest digits which still name that float32."""
    return float(str(np.float32(score)))


def entries(ranked: Iterable[RankedDocument], name: str, *, raw: bool = False) -> Iterator[dict[str, Any]]:
    """Index and relevance score (`raw`: logit) of each document, best first; the score is called `name`."""
    for place in ranked:
        yield {"index": place.index, name: decimal(place.logit if raw else place.score)}


def echoing(places: Iterable[dict[str, Any]], name: str, originals: Sequence[Any] | None) -> Iterator[dict[str, Any]]:
    """The entries, with what stands at their index in `originals` called `name`; never a null."""
    for entry in places:
        yield entry if originals is None else {**entry, name: originals[entry["index"]]}


def usage(results: Iterable[RerankResult]) -> dict[str, int]:
    """Tokens read, special tokens included; nothing is generated, so both counts are equal."""
    tokens = sum(result.tokens for result in results)
    return {"prompt_tokens": tokens, "total_tokens": tokens}
