"""Pairs as the tokeniser's own pair call gives them: for tokenisers whose pairs cannot be joined from parts."""

from collections.abc import Sequence

import numpy as np
from tokenizers import Tokenizer

from rerank.encode import EncodedPairs, PairTemplate
from rerank.errors import ModelError
from rerank.ragged import IntArray, Ragged

_PAIRS_AT_ONCE = 256  # an encoding takes a hundred times the bytes of its text
_PROBE_TOKENS = 64


class PairCallEncoder:
    """One model's tokeniser, called for every pair: slower, for no text is tokenised once for all its pairs.

    To the rest of the package a pair is a document that is read alone, without a query and without special tokens.
    """

    unit = "pair"

    def __init__(self, tokenizer: Tokenizer, *, max_length: int) -> None:
        """Raises ModelError where pairs have several token types, or more tokens than they are cut to."""
        tokenizer.no_padding()
        limit = min(max_length, _PROBE_TOKENS)
        tokenizer.enable_truncation(limit, strategy="longest_first")
        probe = tokenizer.encode("a b c d " * limit, "e f g h " * limit)
        if len(probe) > limit:
            raise ModelError(f"the tokeniser gives {len(probe)} tokens for a pair that is to be cut to {limit}")
        kinds = set(probe.type_ids)
        if len(kinds) != 1:
            raise ModelError(f"pairs of this tokeniser must have a single token type, got {sorted(kinds)}")
        tokenizer.enable_truncation(max_length, strategy="longest_first")
        self._tokenizer = tokenizer
        self.template = PairTemplate(((), (), ()), (kinds.pop(),) * 5)
        self.max_length = max_length

    def encode(
        self, queries: Sequence[str], documents: Sequence[str], query_of: IntArray, document_of: IntArray
    ) -> EncodedPairs:
        """The pairs of query_of[i] and document_of[i], cut to max_length; parallel."""
        texts = [(queries[query], documents[document]) for query, document in zip(query_of, document_of, strict=True)]
        rows = Ragged.from_rows(
            [
                encoding.ids
                for start in range(0, len(texts), _PAIRS_AT_ONCE)
                for encoding in self._tokenizer.encode_batch_fast(texts[start : start + _PAIRS_AT_ONCE])
            ]
        )
        return EncodedPairs(
            template=self.template,
            queries=Ragged.from_rows([()] * len(queries)),
            documents=rows,
            query_of=query_of,
            document_of=np.arange(len(rows), dtype=np.int32),
            query_lengths=np.zeros(len(rows), dtype=np.int32),
            document_lengths=rows.lengths.astype(np.int32),
        )
