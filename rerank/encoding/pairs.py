"""Tokenise each distinct text once, and join texts into pairs by the model's own template.

A tokeniser's pair call encodes both texts separately, truncates them and joins them with special tokens. This module
does the same with whole arrays: the result is equal, and a text costs one call for all its pairs.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Protocol

import numpy as np
import numpy.typing as npt
from tokenizers import Encoding, Tokenizer

from rerank.arrays import IntArray, Offsets, Ragged, VectorRows, offsets_of, spans
from rerank.encoding.reading import Checkpoint, never_stop, read_starts, read_tokens
from rerank.encoding.truncate import beside_a_query, pair_limit, refuse_truncated, truncate_longest_first
from rerank.encoding.windows import Windows, WindowTokenizer
from rerank.errors import ModelError
from rerank.ranking.instructions import InstructionPlace, Instructions, in_front
from rerank.ranking.relevance import Relevance
from rerank.types import AS_THE_MODEL, TokenLimits

# The longer text of a truncated pair keeps the odd token. To know which one is longer, a query is read up to this many
# tokens, and a document as far as the query; of two longer texts, the document keeps it.
_LONGEST_COMPARED = 2**20

_PROBES = (("a b", "c d e"), ("what is this?", "It is a probe."), ("x", "y"))


@dataclass(frozen=True, slots=True)
class PairTemplate:
    """Special tokens before, between and after the two texts of a pair, and the token types of these five pieces."""

    specials: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]
    types: tuple[int, int, int, int, int]

    @property
    def special_count(self) -> int:
        """Return the number of tokens that the template adds to a pair."""
        return sum(len(piece) for piece in self.specials)


@dataclass(frozen=True, slots=True)
class EncodedPairs:
    """Pairs as token ids: pair i has the first query_lengths[i] tokens of row query_of[i] of `queries`, and likewise of
    `documents`.

    Rows are shared: a query with 100 candidates is stored once. Lengths are those after truncation; encoders say which
    pairs were truncated [pairs].

    `vectors` [documents] are the vectors of documents that came with vectors and have no tokens; None: there are none.
    If the documents are passages, `windows` has one for each pair.
    """

    template: PairTemplate
    queries: Ragged
    documents: Ragged
    query_of: IntArray
    document_of: IntArray
    query_lengths: IntArray
    document_lengths: IntArray
    vectors: VectorRows | None = None
    is_truncated: npt.NDArray[np.bool_] | None = None
    windows: Windows | None = None

    def __len__(self) -> int:
        return len(self.query_of)

    @property
    def lengths(self) -> IntArray:
        """Return the tokens of each pair, special tokens included, shape [pairs]."""
        return self.query_lengths + self.document_lengths + np.int32(self.template.special_count)

    def take(self, pairs: npt.NDArray[np.integer]) -> "EncodedPairs":
        """Return these pairs in this order, with the same texts, without their windows."""
        return replace(
            self,
            query_of=self.query_of[pairs],
            document_of=self.document_of[pairs],
            query_lengths=self.query_lengths[pairs],
            document_lengths=self.document_lengths[pairs],
            is_truncated=None if self.is_truncated is None else self.is_truncated[pairs],
            windows=None,
        )

    def join(self, pairs: npt.NDArray[np.integer]) -> tuple[IntArray, IntArray, Offsets]:
        """Return the token ids and token types of these pairs, concatenated, and their offsets [pairs + 1]."""
        lengths = np.empty((len(pairs), 5), dtype=np.int64)
        lengths[:, 0::2] = [len(special) for special in self.template.specials]
        lengths[:, 1] = self.query_lengths[pairs]
        lengths[:, 3] = self.document_lengths[pairs]
        pieces = offsets_of(lengths.ravel())
        starts = pieces[:-1].reshape(-1, 5)

        ids = np.empty(pieces[-1], dtype=np.int32)
        for piece, special in zip((0, 2, 4), self.template.specials, strict=True):
            ids[starts[:, piece, None] + np.arange(len(special))] = np.array(special, dtype=np.int32)
        for piece, rows, row_of in ((1, self.queries, self.query_of), (3, self.documents, self.document_of)):
            source = spans(rows.offsets[row_of[pairs]], lengths[:, piece])
            ids[spans(starts[:, piece], lengths[:, piece])] = rows.values[source]
        types = np.repeat(np.tile(np.array(self.template.types, dtype=np.int32), len(pairs)), lengths.ravel())
        return ids, types, pieces[::5]


class PairEncoder(WindowTokenizer, Protocol):
    """What the rest of the package needs of an encoder."""

    @property
    def template(self) -> PairTemplate:
        """Return how texts are joined into pairs."""
        ...

    @property
    def row_template(self) -> PairTemplate:
        """Return what the rows of its EncodedPairs lack of the template: all of it, or what stands behind queries."""
        ...

    @property
    def instruction_place(self) -> InstructionPlace:
        """Return where the model reads an instruction."""
        ...

    @property
    def relevance(self) -> Relevance:
        """Return what the relevance score of a logit means."""
        ...

    @property
    def text_format(self) -> str:
        """Return what else changes the token ids besides template and limit, for fingerprints; empty if nothing."""
        ...

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
        """Return pair i of query query_of[i] and document document_of[i], truncated to max_length and to `limits`.

        Query rows keep their order. `checkpoint` is called before each chunk of texts; what it raises ends the work.
        Raises TooLongError if `limits.strict` and a pair is too long, InputError if the token limit of a pair leaves no
        room for text. `instructions` are those of the queries; one that is not empty takes the place of the model's own
        in its template, or stands in front of the query.
        """
        ...


class UnjoinableError(ModelError):
    """The tokeniser's pairs are not two texts between special tokens: they cannot be joined from the texts."""


class Encoder:
    """One model's tokeniser, template and length limit."""

    unit = "text"
    relevance = Relevance.SIGMOID
    instruction_place = InstructionPlace.QUERY

    def __init__(self, tokenizer: Tokenizer, *, max_length: int, prompt: str = "") -> None:
        """Learn the tokeniser's template. `prompt` is put before each query.

        Raises UnjoinableError, and ModelError if max_length is too small.
        """
        self.text_format = prompt
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        self.template = self.row_template = _learn_template(tokenizer)
        self.max_length = max_length
        if max_length <= self.template.special_count:
            raise ModelError(
                f"max_length must be above {self.template.special_count}, the special tokens of a pair, "
                f"got {max_length}"
            )

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
        """Return pairs of texts that are tokenised once each, see `PairEncoder.encode`.


        Of long texts only the beginning is read.
        """
        budget = pair_limit(limits, self.max_length, special_count=self.template.special_count)
        budget -= self.template.special_count
        query_rows = self.tokenize(
            [self.text_format + query for query in in_front(queries, instructions)], query_tokens(budget), checkpoint
        )
        count = document_tokens(budget, limits, int(query_rows.lengths.max(initial=0)))
        document_rows = self.tokenize(documents, count, checkpoint)
        pairs = self.pair(query_rows, document_rows, query_of, document_of, limits)
        most = budget + 1  # more was read only to compare lengths
        return replace(pairs, queries=pairs.queries.first(most), documents=pairs.documents.first(most))

    @property
    def passage_limit(self) -> int:
        """Return the most tokens of a document that are never truncated beside a query of usual length."""
        prompt_tokens = len(self._tokenizer.encode(self.text_format, add_special_tokens=False))
        return beside_a_query(self.max_length - self.template.special_count - prompt_tokens)

    def token_starts(self, texts: Sequence[str], most: int, checkpoint: Checkpoint = never_stop) -> list[Offsets]:
        """Return the characters at which the tokens of each text start, see `read_starts`."""
        return read_starts(self._tokenizer, texts, most, checkpoint)

    def tokenize(
        self, texts: Sequence[str], count: int = _LONGEST_COMPARED, checkpoint: Checkpoint = never_stop
    ) -> Ragged:
        """Return the first `count` token ids of each text without special tokens; multithreaded, without the GIL."""
        return Ragged.from_arrays(read_tokens(self._tokenizer, texts, count, checkpoint))

    def pair(
        self,
        queries: Ragged,
        documents: Ragged,
        query_of: IntArray,
        document_of: IntArray,
        limits: TokenLimits = AS_THE_MODEL,
    ) -> EncodedPairs:
        """Return pairs of query and document rows, truncated as the tokeniser would (longest first)."""
        most = pair_limit(limits, self.max_length, special_count=self.template.special_count)
        full_lengths = documents.lengths
        if limits.document is not None:
            full_lengths = np.minimum(full_lengths, min(limits.document, np.iinfo(full_lengths.dtype).max))
        query_lengths, document_lengths = truncate_longest_first(
            queries.lengths[query_of], full_lengths[document_of], most - self.template.special_count
        )
        is_truncated = query_lengths + document_lengths < queries.lengths[query_of] + full_lengths[document_of]
        if limits.strict:
            refuse_truncated(is_truncated, most)
        lengths = query_lengths, document_lengths
        return EncodedPairs(
            self.template, queries, documents, query_of, document_of, *lengths, is_truncated=is_truncated
        )


def query_tokens(budget: int) -> int:
    """Return how many tokens of a query must be known to truncate its pairs to `budget` tokens of text."""
    return budget + 1 if budget % 2 == 0 else max(budget + 1, _LONGEST_COMPARED)


def document_tokens(budget: int, limits: TokenLimits, longest_query: int) -> int:
    """Return how many tokens of a document must be known, beside queries of at most `longest_query` known tokens."""
    count = max(budget, longest_query) + 1
    return count if limits.document is None else min(count, limits.document)


def _learn_template(tokenizer: Tokenizer) -> PairTemplate:
    learned = {_read_template(tokenizer, *probe) for probe in _PROBES}
    if len(learned) != 1:
        raise UnjoinableError("the tokeniser's special tokens depend on the texts")
    return learned.pop()


def _read_template(tokenizer: Tokenizer, query: str, document: str) -> PairTemplate:
    pair = tokenizer.encode(query, document)
    starts = [_first_token(pair, sequence) for sequence in (0, 1)]
    texts = [tokenizer.encode(text, add_special_tokens=False).ids for text in (query, document)]
    ends = [start + len(text) for start, text in zip(starts, texts, strict=True)]
    if any(pair.ids[start:end] != text for start, end, text in zip(starts, ends, texts, strict=True)):
        raise UnjoinableError("the tokeniser encodes a text differently inside a pair")
    bounds = [0, starts[0], ends[0], starts[1], ends[1], len(pair.ids)]
    pieces = [tuple(pair.ids[start:end]) for start, end in pairwise(bounds)]
    kinds = [set(pair.type_ids[start:end]) or {0} for start, end in pairwise(bounds)]
    if any(len(kind) != 1 for kind in kinds):
        raise UnjoinableError(f"the tokeniser mixes token types inside one piece of a pair: {kinds}")
    first, second, third, fourth, fifth = (kind.pop() for kind in kinds)
    return PairTemplate((pieces[0], pieces[2], pieces[4]), (first, second, third, fourth, fifth))


def _first_token(pair: Encoding, sequence: int) -> int:
    if sequence not in pair.sequence_ids:
        raise UnjoinableError("the tokeniser returns no tokens for a letter")
    start: int = pair.sequence_ids.index(sequence)
    return start
