"""Merge the pairs of several requests for one batch."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from rerank.arrays import Ragged, offsets_of
from rerank.encoding.pairs import EncodedPairs


def merge(parts: Sequence[tuple[EncodedPairs, npt.NDArray[np.intp]]]) -> EncodedPairs:
    """Return these rows of several requests' pairs as one set, in this order, without the documents they do not use."""
    documents = [p.documents.take(p.document_of[rows], lengths=p.document_lengths[rows]) for p, rows in parts]
    first_queries = offsets_of([len(pairs.queries) for pairs, _ in parts])
    query_of = [pairs.query_of[rows] + first for (pairs, rows), first in zip(parts, first_queries[:-1], strict=True)]
    lengths = np.concatenate([pairs.document_lengths[rows] for pairs, rows in parts])
    return EncodedPairs(
        template=parts[0][0].template,
        queries=_concatenate([pairs.queries for pairs, _ in parts]),
        documents=_concatenate(documents),
        query_of=np.concatenate(query_of).astype(np.int32),
        document_of=np.arange(len(lengths), dtype=np.int32),
        query_lengths=np.concatenate([pairs.query_lengths[rows] for pairs, rows in parts]),
        document_lengths=lengths,
    )


def _concatenate(parts: Sequence[Ragged]) -> Ragged:
    lengths = np.concatenate([part.lengths for part in parts])
    return Ragged(np.concatenate([part.values for part in parts]), offsets_of(lengths))
