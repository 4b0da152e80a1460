"""Encode the pairs of requests, as `Reranker` and the server receive them."""

from collections.abc import Sequence

import numpy as np

from rerank.arrays import IntArray
from rerank.encoding.pairs import EncodedPairs, PairEncoder
from rerank.encoding.reading import Checkpoint
from rerank.types import RerankRequest


def encode_request(encoder: PairEncoder, request: RerankRequest, checkpoint: Checkpoint) -> EncodedPairs:
    """Return the pairs of a request, in document order. Raises TooLongError and InputError, see `TokenLimits`.

    `checkpoint` is called before each chunk of texts, and what it raises ends the work.
    """
    rows = np.arange(len(request.documents), dtype=np.int32)
    queries, query_of = _distinct(request.queries)
    if len(query_of) == 1:
        query_of = np.zeros_like(rows)
    return encoder.encode(queries, request.documents, query_of, rows, request.token_limits, checkpoint)


def encode_requests(encoder: PairEncoder, requests: Sequence[RerankRequest]) -> EncodedPairs:
    """Return the pairs of all requests; each distinct document is tokenised once."""
    documents, document_of = _distinct([document for request in requests for document in request.documents])
    return encoder.encode(
        [query for request in requests for query in request.queries],
        documents,
        np.repeat(np.arange(len(requests), dtype=np.int32), [len(request.documents) for request in requests]),
        document_of,
    )


def _distinct(texts: Sequence[str]) -> tuple[list[str], IntArray]:
    """Return the distinct texts, and for each text the number of its distinct text."""
    row_of = {text: row for row, text in enumerate(dict.fromkeys(texts))}
    return list(row_of), np.fromiter(map(row_of.__getitem__, texts), dtype=np.int32, count=len(texts))
