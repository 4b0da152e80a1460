"""MaxSim, the score of late interaction: how well each vector of a query finds its like among those of a document."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from rerank.arrays import FloatArray, Offsets, offsets_of
from rerank.errors import InputError

NO_VECTORS = np.float32(-1e9)  # the score of a document without vectors: below all others, as in sentence-transformers
_TOKENS_AT_ONCE = 16_384  # of documents; their products with a query fit into a core's cache


def maxsim(query_vectors: npt.ArrayLike, document_vectors: Sequence[npt.ArrayLike]) -> FloatArray:
    """Return the MaxSim score of a query with each document, float32 [documents].

    `query_vectors` has the shape [query tokens, width] and each of the `document_vectors` [its tokens, width]. A score
    is the sum, over the vectors of the query, of the largest dot product with a vector of the document, computed in
    float32; -1e9 for a document without vectors. Raises InputError for other shapes.
    """
    query = _vectors("query_vectors", query_vectors, None)
    documents = [
        _vectors(f"document_vectors[{place}]", vectors, query.shape[1])
        for place, vectors in enumerate(document_vectors)
    ]
    scores = np.full(len(documents), NO_VECTORS, dtype=np.float32)
    lengths = np.array([len(vectors) for vectors in documents], dtype=np.int64)
    for places in chunks_of(lengths):
        joined = np.concatenate([documents[place] for place in places])
        scores[places] = sum_of_maxima(query @ joined.T, offsets_of(lengths[places]))
    return scores


def chunks_of(lengths: npt.NDArray[np.integer]) -> list[npt.NDArray[np.intp]]:
    """Return the places of documents of these lengths, those without vectors left out, in chunks of limited size."""
    places = np.flatnonzero(lengths)
    if not len(places):
        return []
    chunk_of = np.cumsum(lengths[places]) // _TOKENS_AT_ONCE
    return np.split(places, np.flatnonzero(np.diff(chunk_of)) + 1)


def sum_of_maxima(products: FloatArray, offsets: Offsets) -> FloatArray:
    """Return MaxSim from the products [query tokens, tokens of all documents]; no document is empty."""
    scores: FloatArray = np.maximum.reduceat(products, offsets[:-1], axis=1).sum(axis=0, dtype=np.float32)
    return scores


def _vectors(name: str, values: npt.ArrayLike, width: int | None) -> FloatArray:
    vectors = np.asarray(values, dtype=np.float32)
    if vectors.ndim != 2 or (width is not None and vectors.shape[1] != width):
        expected = f"[tokens, {'width' if width is None else width}]"
        raise InputError(f"{name} must have the shape {expected}, got {list(vectors.shape)}")
    return vectors
