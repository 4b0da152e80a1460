"""Pairs of several requests as one set, for one batch."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from rerank.arrays import Ragged, offsets_of
from rerank.encoding.pairs import EncodedPairs


def merge(parts: Sequence[tuple[EncodedPairs, npt.NDArray[np.intp]]]) -> EncodedPairs:
    """The given pairs of several requests as one set, in the given order; texts that none of them reads stay behind."""
    documents = [p.documents.take(p.document_of[rows], lengths=p.document_lengths[rows]) for p, rows in parts]
    bases = offsets_of([len(pairs.queries) for pairs, _ in parts])
    query_of = [pairs.query_of[rows] + base for (pairs, rows), base in zip(parts, bases[:-1], strict=True)]
    lengths = np.concatenate([pairs.document_lengths[rows] for pairs, rows in parts])
    return EncodedPairs(
        template=parts[0][0].template,
        queries=_stack([pairs.queries for pairs, _ in parts]),
        documents=_stack(documents),
        query_of=np.concatenate(query_of).astype(np.int32),
        document_of=np.arange(len(lengths), dtype=np.int32),
        query_lengths=np.concatenate([pairs.query_lengths[rows] for pairs, rows in parts]),
        document_lengths=lengths,
    )


def _stack(parts: Sequence[Ragged]) -> Ragged:
    lengths = np.concatenate([part.lengths for part in parts])
    return Ragged(np.concatenate([part.values for part in parts]), offsets_of(lengths))
