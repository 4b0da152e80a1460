"""Prefixes: the tokens in front of the documents, which a causal model can compute once for all pairs of a query."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rerank.arrays import Offsets, offsets_of, spans
from rerank.encoding.pairs import EncodedPairs

_LEAST_SAVED = 0.05  # of all tokens; fewer are not worth the smaller matrices of attention


@dataclass(frozen=True, slots=True)
class Prefixes:
    """The prefix of each pair: pairs with the same `groups` [pairs] begin with the same `lengths` [pairs] tokens."""

    groups: Offsets
    lengths: Offsets

    @classmethod
    def of(cls, pairs: EncodedPairs, *, padding: int) -> "Prefixes":
        """Return the prefixes of pairs: special tokens, query, special tokens.

        Pairs are alone in their group if nothing stands behind their prefix, or if they end with the id `padding`:
        some classifiers then read the state of an earlier token, which may be one of the prefix.
        """
        first, between, last = pairs.template.specials
        lengths = len(first) + pairs.query_lengths.astype(np.int64) + len(between)
        has_more = pairs.document_lengths + len(last) > 0
        if last:
            can_share = has_more & (last[-1] != padding)
        else:
            ends = pairs.documents.offsets[pairs.document_of[has_more]] + pairs.document_lengths[has_more]
            can_share = has_more.copy()
            can_share[has_more] = pairs.documents.values[ends - 1] != padding
        keys = np.stack([pairs.query_of, pairs.query_lengths, np.where(can_share, 0, np.arange(1, len(pairs) + 1))])
        _, groups = np.unique(keys, axis=1, return_inverse=True)
        return cls(groups.ravel(), np.where(can_share, lengths, 0))

    def take(self, pairs: npt.NDArray[np.integer]) -> "Prefixes":
        """Return the prefixes of these pairs."""
        return Prefixes(self.groups[pairs], self.lengths[pairs])

    def saved_tokens(self) -> int:
        """Return the tokens that these pairs save if they are computed together, each prefix once."""
        _, first = np.unique(self.groups, return_index=True)
        return int(self.lengths.sum() - self.lengths[first].sum())


@dataclass(frozen=True, slots=True)
class SharedRows:
    """The rows of a batch: its `prefix_count` shared prefixes, then what is left of each pair.

    Row i has the tokens tokens[offsets[i]:offsets[i + 1]], which are places in the concatenated pairs, behind those of
    the row prefix_of[i], -1: none.
    """

    prefix_count: int
    tokens: Offsets
    offsets: Offsets
    prefix_of: Offsets

    @classmethod
    def of(cls, lengths: npt.NDArray[np.integer], prefixes: Prefixes) -> "SharedRows | None":
        """Return the rows of pairs of these lengths; None if sharing would save too little."""
        if not is_worthwhile(prefixes.saved_tokens(), lengths):
            return None
        _, first, group_of, counts = np.unique(
            prefixes.groups, return_index=True, return_inverse=True, return_counts=True
        )
        is_shared = (counts > 1) & (prefixes.lengths[first] > 0)
        row_of = np.where(is_shared, np.cumsum(is_shared) - 1, -1)[group_of]
        heads = first[is_shared]  # the pairs whose tokens the prefixes are
        skipped = np.where(row_of < 0, 0, prefixes.lengths)
        starts = offsets_of(lengths)[:-1]
        row_lengths = np.concatenate([prefixes.lengths[heads], lengths - skipped])
        return cls(
            len(heads),
            spans(np.concatenate([starts[heads], starts + skipped]), row_lengths),
            offsets_of(row_lengths),
            np.concatenate([np.full(len(heads), -1), row_of]),
        )


def is_worthwhile(saved_tokens: int, lengths: npt.NDArray[np.integer]) -> bool:
    """Return whether sharing pays for pairs of these lengths if it saves so many of their tokens."""
    return saved_tokens > _LEAST_SAVED * int(lengths.sum())
