"""Texts to token ids, and pairs of them joined by the model's own template: each distinct text is tokenised once.

Tokenisers encode the two texts of a pair apart, cut them and join them with special tokens. So do we, with whole
arrays: the outcome is the same as the tokeniser's own pair call, at the cost of its single call.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Protocol

import numpy as np
import numpy.typing as npt
from tokenizers import Encoding, Tokenizer

from rerank.arrays import IntArray, Offsets, Ragged, offsets_of, spans
from rerank.encoding.truncate import pair_limit, refuse_cut, truncate_longest_first
from rerank.errors import ModelError
from rerank.types import AS_THE_MODEL, TokenLimits

# Texts are cut before they are tokenised where they are longer than this many characters per token of max_length: an
# encoding takes a hundred times the bytes of its text. Some words more are read: a cut may change those beside it.
_CHARACTERS_PER_TOKEN = 16
# Nothing shorter is cut: which of two texts is the longer decides who keeps the odd token of a truncated pair, and of
# a cut text that is not known. Only a query longer than this could tell.
_SHORTEST_CUT = 65_536
_TOKENS_BESIDE_A_CUT = 64
_LONGEST_WORD = 1_000
_SPACE = re.compile(r"\s")

_PROBES = (("a b", "c d e"), ("what is this?", "It is a probe."), ("x", "y"))


@dataclass(frozen=True, slots=True)
class PairTemplate:
    """Special tokens before, between and after the two texts, and the token type of each of the five pieces."""

    specials: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]
    types: tuple[int, int, int, int, int]

    @property
    def special_count(self) -> int:
        """Tokens that the template adds to a pair."""
        return sum(len(piece) for piece in self.specials)


@dataclass(frozen=True, slots=True)
class EncodedPairs:
    """Pairs as token ids: pair i reads the first query_lengths[i] tokens of query row query_of[i], and so on.

    Rows are shared: a query with 100 candidates is stored once. Lengths are those after truncation.
    """

    template: PairTemplate
    queries: Ragged
    documents: Ragged
    query_of: IntArray
    document_of: IntArray
    query_lengths: IntArray
    document_lengths: IntArray

    def __len__(self) -> int:
        return len(self.query_of)

    @property
    def lengths(self) -> IntArray:
        """Tokens of each pair, special tokens included."""
        return self.query_lengths + self.document_lengths + np.int32(self.template.special_count)

    def take(self, pairs: npt.NDArray[np.integer]) -> "EncodedPairs":
        """The given pairs in the given order, over the same texts."""
        return replace(
            self,
            query_of=self.query_of[pairs],
            document_of=self.document_of[pairs],
            query_lengths=self.query_lengths[pairs],
            document_lengths=self.document_lengths[pairs],
        )

    def join(self, pairs: npt.NDArray[np.integer]) -> tuple[IntArray, IntArray, Offsets]:
        """Token ids and token types of the given pairs, one behind the other, and where each begins."""
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


class PairEncoder(Protocol):
    """What the rest of the package asks of an encoder."""

    @property
    def template(self) -> PairTemplate:
        """How pairs are joined."""
        ...

    @property
    def max_length(self) -> int:
        """Tokens of a pair at most."""
        ...

    def encode(
        self,
        queries: Sequence[str],
        documents: Sequence[str],
        query_of: IntArray,
        document_of: IntArray,
        limits: TokenLimits = AS_THE_MODEL,
    ) -> EncodedPairs:
        """Pair i of query query_of[i] and document document_of[i], cut to max_length and to lower `limits`.

        Query rows keep their order. Raises TooLongError for the first pair that must not be cut and has to be,
        InputError where the limit of a pair leaves no room for text.
        """
        ...


class UnjoinableError(ModelError):
    """A tokeniser whose pairs are not two texts between special tokens: they cannot be joined from parts."""


class Encoder:
    """One model's tokeniser, template and length limit."""

    unit = "text"

    def __init__(self, tokenizer: Tokenizer, *, max_length: int) -> None:
        """Take the tokeniser apart. Raises UnjoinableError, and ModelError where max_length leaves no room for text."""
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        self.template = _learn_template(tokenizer)
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
    ) -> EncodedPairs:
        """Tokenise each text once and join them into pairs, see `PairEncoder.encode`."""
        return self.pair(self.tokenize(queries), self.tokenize(documents), query_of, document_of, limits)

    def tokenize(self, texts: Sequence[str]) -> Ragged:
        """Token ids of each text without special tokens; parallel, and other Python threads run meanwhile.

        A text that is far longer than max_length is read as far as a pair can hold it.
        """
        return Ragged.from_rows(self._ids(texts, max(_SHORTEST_CUT, _CHARACTERS_PER_TOKEN * self.max_length)))

    def _ids(self, texts: Sequence[str], characters: int) -> list[list[int]]:
        """Ids of each text, of those with more characters than that only the head, if it fills a pair."""
        heads = [text if len(text) <= characters else _head(text, characters) for text in texts]
        rows = [encoding.ids for encoding in self._tokenizer.encode_batch_fast(heads, add_special_tokens=False)]
        enough = self.max_length + _TOKENS_BESIDE_A_CUT
        short = [
            row
            for row, (text, head, ids) in enumerate(zip(texts, heads, rows, strict=True))
            if len(head) < len(text) and len(ids) < enough
        ]
        if short:
            again = self._ids([texts[row] for row in short], 8 * characters)
            for row, ids in zip(short, again, strict=True):
                rows[row] = ids
        return rows

    def pair(
        self,
        queries: Ragged,
        documents: Ragged,
        query_of: IntArray,
        document_of: IntArray,
        limits: TokenLimits = AS_THE_MODEL,
    ) -> EncodedPairs:
        """Join query and document rows into pairs, cut as the tokeniser would (longest first)."""
        most = pair_limit(limits, self.max_length, special_count=self.template.special_count)
        whole = documents.lengths
        if limits.document is not None:
            whole = np.minimum(whole, min(limits.document, np.iinfo(whole.dtype).max))
        query_lengths, document_lengths = truncate_longest_first(
            queries.lengths[query_of], whole[document_of], most - self.template.special_count
        )
        if limits.strict:
            cut = query_lengths + document_lengths < queries.lengths[query_of] + whole[document_of]
            refuse_cut(cut, most)
        return EncodedPairs(self.template, queries, documents, query_of, document_of, query_lengths, document_lengths)


def _head(text: str, characters: int) -> str:
    """The first so many characters and the rest of the word in which they end."""
    end = _SPACE.search(text, characters, characters + _LONGEST_WORD)
    return text[: end.start() if end else characters]


def _learn_template(tokenizer: Tokenizer) -> PairTemplate:
    learned = {_read_template(tokenizer, *probe) for probe in _PROBES}
    if len(learned) != 1:
        raise UnjoinableError("the tokeniser's special tokens depend on the texts")
    return learned.pop()


def _read_template(tokenizer: Tokenizer, query: str, document: str) -> PairTemplate:
    pair = tokenizer.encode(query, document)
    starts = [_find(pair, sequence) for sequence in (0, 1)]
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


def _find(pair: Encoding, sequence: int) -> int:
    if sequence not in pair.sequence_ids:
        raise UnjoinableError("the tokeniser gives no tokens for a letter")
    start: int = pair.sequence_ids.index(sequence)
    return start
