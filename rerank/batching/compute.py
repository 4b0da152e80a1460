"""Compute a batch: score its pairs, encode its texts, and give each request its results."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from rerank.arrays import FloatArray
from rerank.batching.fair_queue import Batch, QueuedRequest
from rerank.batching.merge import merge, merge_texts
from rerank.encoding.pairs import EncodedPairs
from rerank.encoding.texts import Texts

Results = dict[QueuedRequest[Any], npt.NDArray[Any]]
"""By request: the logits of its pairs, or arrays of vectors of its texts, in the order of its rows in the batch."""


def compute(
    batch: Batch, score: Callable[[EncodedPairs], FloatArray], vectors: Callable[[Texts], list[FloatArray]]
) -> tuple[Results, int]:
    """Return the results of a batch by request, and its tokens."""
    pairs = [part for part in batch if isinstance(part[0].work, EncodedPairs)]
    texts = [part for part in batch if isinstance(part[0].work, Texts)]
    results: Results = {}
    tokens = 0
    if pairs:
        merged = merge([(request.work, rows) for request, rows in pairs])
        results |= _by_request(pairs, score(merged))
        tokens += int(merged.lengths.sum())
    if texts:
        merged_texts = merge_texts([(request.work, rows) for request, rows in texts])
        arrays = vectors(merged_texts)
        results |= _by_request(texts, np.fromiter(arrays, dtype=object, count=len(arrays)))
        tokens += int(merged_texts.lengths.sum())
    return results, tokens


def _by_request(batch: Batch, results: npt.NDArray[Any]) -> Results:
    """Return the results of each request's rows, from those of all rows in the order of the batch."""
    bounds = np.cumsum([len(rows) for _, rows in batch])[:-1]
    return dict(zip((request for request, _ in batch), np.split(results, bounds), strict=True))
