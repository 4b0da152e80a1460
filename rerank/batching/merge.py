"""Merge the pairs, or the texts, of several requests for one batch."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from rerank.arrays import Ragged, offsets_of
from rerank.encoding.pairs import EncodedPairs
from rerank.encoding.texts import Texts


def merge(parts: Sequence[tuple[EncodedPairs, npt.NDArray[np.intp]]]) -> EncodedPairs:
    """Return these rows of several requests' pairs as one set, in this order, without the texts they do not use."""
    documents = [p.documents.take(p.document_of[rows], lengths=p.document_lengths[rows]) for p, rows in parts]
    used_queries = [_used_queries(pairs, rows) for pairs, rows in parts]
    first_queries = offsets_of([len(queries) for queries, _ in used_queries])
    query_of = [numbers + first for (_, numbers), first in zip(used_queries, first_queries[:-1], strict=True)]
    lengths = np.concatenate([pairs.document_lengths[rows] for pairs, rows in parts])
    return EncodedPairs(
        template=parts[0][0].template,
        queries=_concatenate([queries for queries, _ in used_queries]),
        documents=_concatenate(documents),
        query_of=np.concatenate(query_of).astype(np.int32),
        document_of=np.arange(len(lengths), dtype=np.int32),
        query_lengths=np.concatenate([pairs.query_lengths[rows] for pairs, rows in parts]),
        document_lengths=lengths,
    )


def merge_texts(parts: Sequence[tuple[Texts, npt.NDArray[np.intp]]]) -> Texts:
    """Return these rows of several requests' texts as one set, in this order."""
    chosen = [texts.take(rows) for texts, rows in parts]
    is_query = np.concatenate([texts.is_query for texts in chosen])
    return Texts(_concatenate([texts.tokens for texts in chosen]), is_query)


def _used_queries(pairs: EncodedPairs, rows: npt.NDArray[np.intp]) -> tuple[Ragged, npt.NDArray[np.integer]]:
    """Return the queries of these rows, and for each row the number of its query among them."""
    if len(pairs.queries) == 1:
        return pairs.queries, pairs.query_of[rows]
    used, numbers = np.unique(pairs.query_of[rows], return_inverse=True)
    return pairs.queries.take(used), numbers


def _concatenate(parts: Sequence[Ragged]) -> Ragged:
    lengths = np.concatenate([part.lengths for part in parts])
    return Ragged(np.concatenate([part.values for part in parts]), offsets_of(lengths))
