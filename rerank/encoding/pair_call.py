"""Encode pairs by the tokeniser's own pair call, for tokenisers whose pairs cannot be joined from their texts."""

from collections.abc import Sequence
from functools import partial
from itertools import chain
from threading import Lock

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from rerank.arrays import IntArray, Offsets, Ragged
from rerank.encoding.pairs import EncodedPairs, PairTemplate, document_tokens, query_tokens
from rerank.encoding.reading import Checkpoint, chunks, first_characters, never_stop, read_heads, read_starts
from rerank.encoding.truncate import beside_a_query, pair_limit, refuse_truncated
from rerank.errors import ModelError
from rerank.ranking.instructions import InstructionPlace, Instructions, in_front
from rerank.ranking.relevance import Relevance
from rerank.types import AS_THE_MODEL, TokenLimits

_PROBE_TOKENS = 64
_UNLIMITED = 2**31 - 1


class PairCallEncoder:
    """One model's tokeniser, called for every pair: slower, because a text is tokenised again for each of its pairs.

    In the EncodedPairs that it returns, a pair is a document without a query and without special tokens.
    """

    unit = "pair"
    relevance = Relevance.SIGMOID
    instruction_place = InstructionPlace.QUERY

    def __init__(self, tokenizer: Tokenizer, *, max_length: int, prompt: str = "") -> None:
        """`prompt` is put before each query.

        Raises ModelError if pairs have several token types, or more tokens than they are truncated to."""
        tokenizer.no_padding()
        limit = min(max_length, _PROBE_TOKENS)
        tokenizer.enable_truncation(limit, strategy="longest_first")
        probe = tokenizer.encode("a b c d " * limit, "e f g h " * limit)
        if len(probe) > limit:
            raise ModelError(f"the tokeniser gives {len(probe)} tokens for a pair that is to be truncated to {limit}")
        kinds = set(probe.type_ids)
        if len(kinds) != 1:
            raise ModelError(f"pairs of this tokeniser must have a single token type, got {sorted(kinds)}")
        self._tokenizer = tokenizer
        self.text_format = prompt
        self._lock = Lock()  # the truncation length is a state of the tokeniser
        self.template = self.row_template = PairTemplate(((), (), ()), (kinds.pop(),) * 5)
        self.max_length = max_length

    def __reduce__(self) -> tuple[object, ...]:
        return partial(PairCallEncoder, max_length=self.max_length, prompt=self.text_format), (self._tokenizer,)

    def encode(
        self,
        queries: Sequence[str],
        documents: Sequence[str],
        query_of: IntArray,
        document_of: IntArray,
        limits: TokenLimits = AS_THE_MODEL,
        checkpoint: Checkpoint = never_stop,
        instructions: Instructions = None,
    ) -> EncodedPairs:
        """Return pair i of query query_of[i] and document document_of[i], see `PairEncoder.encode`; multithreaded."""
        special_count = self._tokenizer.num_special_tokens_to_add(is_pair=True)
        most = pair_limit(limits, self.max_length, special_count=special_count)
        queries = [self.text_format + query for query in in_front(queries, instructions)]
        queries, documents = self._heads(queries, documents, most - special_count, limits, checkpoint)
        if limits.document is not None:
            documents = self._truncated(documents, limits.document, checkpoint)
        texts = [(queries[query], documents[document]) for query, document in zip(query_of, document_of, strict=True)]
        ids, is_truncated = self._call(texts, most, checkpoint)
        if limits.strict:
            refuse_truncated(is_truncated, most)
        rows = Ragged.from_arrays(ids)
        return EncodedPairs(
            template=self.template,
            queries=Ragged.from_rows([()] * len(queries)),
            documents=rows,
            query_of=query_of,
            document_of=np.arange(len(rows), dtype=np.int32),
            query_lengths=np.zeros(len(rows), dtype=np.int32),
            document_lengths=rows.lengths.astype(np.int32),
            is_truncated=is_truncated,
        )

    @property
    def passage_limit(self) -> int:
        """Return the most tokens of a document that are never truncated beside a query of usual length."""
        special_count = self._tokenizer.num_special_tokens_to_add(is_pair=True)
        prompt_tokens = len(self._tokenizer.encode(self.text_format, add_special_tokens=False))
        return beside_a_query(self.max_length - special_count - prompt_tokens)

    def token_starts(self, texts: Sequence[str], most: int, checkpoint: Checkpoint = never_stop) -> list[Offsets]:
        """Return the characters at which the tokens of each text start, see `read_starts`."""
        with self._lock:
            self._tokenizer.no_truncation()
            return read_starts(self._tokenizer, texts, most, checkpoint)

    def _call(
        self, pairs: Sequence[tuple[str, str]], most: int, checkpoint: Checkpoint
    ) -> tuple[list[IntArray], npt.NDArray[np.bool_]]:
        """Return the token ids of each pair, truncated to `most` tokens, and which pairs were truncated."""
        rows, is_truncated = [], []
        for start, stop in chunks([len(query) + len(document) for query, document in pairs]):
            checkpoint()
            with self._lock:
                self._tokenizer.enable_truncation(most, strategy="longest_first")
                encodings = self._tokenizer.encode_batch_fast(pairs[start:stop])
            rows += [np.array(encoding.ids, dtype=np.int32) for encoding in encodings]
            is_truncated += [bool(encoding.overflowing) for encoding in encodings]
        return rows, np.array(is_truncated, dtype=np.bool_)

    def _heads(
        self,
        queries: Sequence[str],
        documents: Sequence[str],
        budget: int,
        limits: TokenLimits,
        checkpoint: Checkpoint,
    ) -> tuple[list[str], list[str]]:
        """Return the beginnings of texts that give the same pairs as the whole texts."""
        if max(map(len, chain(queries, documents)), default=0) <= first_characters(budget):
            return list(queries), list(documents)
        with self._lock:
            self._tokenizer.no_truncation()
            _, lengths = read_heads(self._tokenizer, queries, query_tokens(budget), checkpoint)
            count = document_tokens(budget, limits, max(lengths, default=0))
            # One token more tells that a document is longer than its limit.
            document_heads, lengths = read_heads(self._tokenizer, documents, count + 1, checkpoint)
            query_heads, _ = read_heads(self._tokenizer, queries, max([budget, *lengths]) + 1, checkpoint)
        return query_heads, document_heads

    def _truncated(self, documents: Sequence[str], most: int, checkpoint: Checkpoint) -> list[str]:
        """Return the beginning of each document that has at most `most` tokens when it is tokenised by itself."""
        heads: list[str] = []
        for start, stop in chunks([len(document) for document in documents]):
            checkpoint()
            texts = list(documents[start:stop])
            for side in (1, 0):  # cut after the last token; if the rest still has one too many, before it
                with self._lock:
                    self._tokenizer.enable_truncation(min(most, _UNLIMITED))
                    encodings = self._tokenizer.encode_batch(texts, add_special_tokens=False)
                texts = [
                    text[: encoding.offsets[-1][side]] if encoding.overflowing else text
                    for text, encoding in zip(texts, encodings, strict=True)
                ]
            heads += texts
        return heads
