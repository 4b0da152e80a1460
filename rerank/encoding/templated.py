"""Join pairs of a chat template from ids: constant pieces, and each distinct text tokenised once.

A tokeniser may merge the end of a constant piece with the text behind it ("Document: " and "what" share the token
" what"). So white space at the edges of the constant pieces is tokenised with the texts, behind an anchor: the constant
text to their left, whose tokens are dropped. That joining then equals tokenising the whole text is proven on probes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from rerank.arrays import IntArray, Offsets, Ragged, offsets_of
from rerank.encoding.chat_template import TEXT_PROBES, InstructionSlot, Splice
from rerank.encoding.pairs import EncodedPairs, PairTemplate, UnjoinableError
from rerank.encoding.reading import Checkpoint, never_stop, read_starts, read_tokens
from rerank.encoding.truncate import beside_a_query, pair_limit, refuse_truncated
from rerank.errors import ModelError
from rerank.ranking.instructions import InstructionPlace, Instructions, with_instruction
from rerank.ranking.relevance import Relevance
from rerank.types import AS_THE_MODEL, TokenLimits

_FILLERS = ("0", "1 2 3 4")  # the tokens behind the document that these two share are the suffix
_ALL = 4_096  # more tokens than a probe has
_MOST_FRONTS = 256  # instructions that are remembered


class TemplatedEncoder:
    """A tokeniser with the constant pieces of a chat template. If a pair is too long, its document is truncated."""

    unit = "text"
    relevance = Relevance.SIGMOID
    text_format = ""  # all of it is in the template

    def __init__(
        self, tokenizer: Tokenizer, splice: Splice, *, max_length: int, slot: InstructionSlot | None = None
    ) -> None:
        """Learn the pieces. `slot` is the place for an instruction before the query; None: there is none.

        Raises UnjoinableError if joining is not equal to tokenising the whole text on all probes.

        Raises ModelError if max_length leaves no room for texts.
        """
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer, self._clean = tokenizer, splice.clean
        query, self._document, self._tail, self.template = _learn(tokenizer, splice)
        first, between, last = self.template.specials
        self._front = _Front(first, query)
        self._fronts: dict[str, _Front | None] = {}
        self._slot = slot
        self.instruction_place = InstructionPlace.QUERY if slot is None else InstructionPlace.TEMPLATE
        # Rows of queries begin with the first piece, which may hold an instruction.
        self.row_template = replace(self.template, specials=((), between, last))
        self.max_length = max_length
        constant = self.template.special_count + len(self._tail)
        if max_length <= constant:
            raise ModelError(f"max_length must be above {constant}, the constant tokens of a pair, got {max_length}")

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
        """Return pairs of texts that are tokenised once each, see `PairEncoder.encode`."""
        count = self.max_length + 1  # one more tells that a text was truncated
        query_rows, front_lengths = self._query_rows(queries, instructions, count, checkpoint)
        texts = [self._clean(text) for text in documents]
        document_rows = Ragged.from_arrays(self._document.rows(self._tokenizer, texts, count, checkpoint))
        special_count = self.row_template.special_count
        constant = special_count + len(self._tail)
        most = pair_limit(limits, self.max_length, special_count=constant + int(front_lengths.max(initial=0)))
        query_lengths = np.minimum(query_rows.lengths[query_of], most - constant)
        full_lengths = document_rows.lengths[document_of]
        wanted_lengths = full_lengths
        if limits.document is not None:
            wanted_lengths = np.minimum(full_lengths, limits.document + len(self._tail))
        if limits.strict:
            refuse_truncated(special_count + query_rows.lengths[query_of] + wanted_lengths > most, most)
        document_lengths = np.minimum(wanted_lengths, most - special_count - query_lengths)
        is_truncated = document_lengths < full_lengths
        pairs = EncodedPairs(
            template=self.row_template,
            queries=query_rows,
            documents=document_rows,
            query_of=query_of,
            document_of=document_of,
            query_lengths=query_lengths.astype(np.int32),
            document_lengths=document_lengths.astype(np.int32),
            is_truncated=is_truncated | (query_lengths < query_rows.lengths[query_of]),
        )
        return _with_tail(pairs, is_truncated, self._tail) if self._tail and is_truncated.any() else pairs

    @property
    def passage_limit(self) -> int:
        """Return the most tokens of a document that are never truncated beside a query of usual length."""
        return beside_a_query(self.max_length - self.template.special_count - len(self._tail))

    def token_starts(self, texts: Sequence[str], most: int, checkpoint: Checkpoint = never_stop) -> list[Offsets]:
        """Return the characters at which the tokens of each text start, see `read_starts`."""
        return read_starts(self._tokenizer, texts, most, checkpoint)

    def _query_rows(
        self, queries: Sequence[str], instructions: Instructions, count: int, checkpoint: Checkpoint
    ) -> tuple[Ragged, npt.NDArray[np.integer]]:
        """Return the rows of queries, each behind the first piece of its instruction, and the lengths of these pieces.

        A query has at most `count` tokens of its own.
        """
        chosen = [""] * len(queries) if instructions is None else instructions
        rows: list[IntArray] = [np.empty(0, dtype=np.int32)] * len(queries)
        lengths = np.zeros(len(queries), dtype=np.int64)
        for instruction in dict.fromkeys(chosen):
            places = [place for place, other in enumerate(chosen) if other == instruction]
            texts = [queries[place] for place in places]
            front = self._front_of(instruction)
            if front is None:
                front, texts = self._front, [with_instruction(text, instruction) for text in texts]
            first = np.array(front.ids, dtype=np.int32)
            own = front.seam.rows(self._tokenizer, [self._clean(text) for text in texts], count, checkpoint)
            for place, row in zip(places, own, strict=True):
                rows[place] = np.concatenate([first, row])
            lengths[places] = len(first)
        return Ragged.from_arrays(rows), lengths

    def _front_of(self, instruction: str) -> "_Front | None":
        """Return what stands before a query with this instruction; None if the instruction goes in front of the query.

        It goes there if the template has no place for it, and if it would take most of a pair.
        """
        if not instruction:
            return self._front
        if self._slot is None:
            return None
        fronts = self._fronts
        if instruction in fronts:
            return fronts[instruction]
        front = self._learn_front(self._slot.fill(instruction))
        if len(fronts) >= _MOST_FRONTS:
            fronts = self._fronts = {}  # and not emptied: another thread may be reading it
        fronts[instruction] = front
        return front

    def _learn_front(self, splice: Splice) -> "_Front | None":
        """Return what stands before queries; None if it would take most of a pair, or change what stands behind."""
        try:
            query, document, tail, template = _learn(self._tokenizer, splice)
        except UnjoinableError:
            return None
        first, *others = template.specials
        is_same = (document, tail, (*others,)) == (self._document, self._tail, self.template.specials[1:])
        return _Front(first, query) if is_same and 4 * template.special_count <= 3 * self.max_length else None


@dataclass(frozen=True, slots=True)
class _Seam:
    """What is tokenised with each text: `anchor`, whose tokens are dropped, and white space before and behind it."""

    anchor: str
    before: str
    behind: str

    def rows(
        self, tokenizer: Tokenizer, texts: Sequence[str], count: int, checkpoint: Checkpoint = never_stop
    ) -> list[IntArray]:
        """Return the first `count` token ids of each text, with those of the white space."""
        dropped = len(_ids(tokenizer, self.anchor))
        framed = [f"{self.anchor}{self.before}{text}{self.behind}" for text in texts]
        return [ids[dropped:] for ids in read_tokens(tokenizer, framed, count + dropped, checkpoint)]

    def row(self, tokenizer: Tokenizer, text: str) -> list[int]:
        """Return all token ids of a text, with those of the white space."""
        ids: list[int] = self.rows(tokenizer, [text], _ALL)[0].tolist()
        return ids


@dataclass(frozen=True, slots=True)
class _Front:
    """What stands before a query: token ids, and what is tokenised with the query."""

    ids: tuple[int, ...]
    seam: _Seam


def _learn(tokenizer: Tokenizer, splice: Splice) -> tuple[_Seam, _Seam, tuple[int, ...], PairTemplate]:
    """Return what is tokenised with queries and documents, the tokens behind a truncated document, and the pieces."""
    prefix = splice.prefix.rstrip()
    middle = splice.middle.strip()
    behind_query, before_document = splice.middle, ""
    if middle:
        start = splice.middle.index(middle)
        behind_query, before_document = splice.middle[:start], splice.middle[start + len(middle) :]
    suffix = splice.suffix.lstrip()
    query = _Seam(prefix, splice.prefix[len(prefix) :], behind_query)
    document = _Seam(middle, before_document, splice.suffix[: len(splice.suffix) - len(suffix)])
    whole = [_ids(tokenizer, splice.render(text, text)) for text in _FILLERS]
    ending = _common_ending(*whole)
    bare, with_tail = (seam.row(tokenizer, _FILLERS[0]) for seam in (replace(document, behind=""), document))
    tail = with_tail[len(bare) :]
    first = _ids(tokenizer, prefix)
    last = ending[len(tail) :]
    used = len(first) + len(query.row(tokenizer, _FILLERS[0]))
    between = whole[0][used : len(whole[0]) - len(last) - len(with_tail)]
    template = PairTemplate((tuple(first), tuple(between), tuple(last)), (0, 0, 0, 0, 0))
    for pair in TEXT_PROBES:
        texts = [splice.clean(text) for text in pair]
        rows = [seam.row(tokenizer, text) for seam, text in zip((query, document), texts, strict=True)]
        if first + rows[0] + between + rows[1] + last != _ids(tokenizer, splice.render(*pair)):
            raise UnjoinableError("the tokeniser merges the chat template with the texts")
    return query, document, tuple(tail), template


def _common_ending(first: list[int], second: list[int]) -> list[int]:
    count = 0
    for one, other in zip(reversed(first), reversed(second), strict=False):
        if one != other:
            break
        count += 1
    return first[len(first) - count :]


def _ids(tokenizer: Tokenizer, text: str) -> list[int]:
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
    return ids


def _with_tail(pairs: EncodedPairs, is_truncated: np.ndarray, tail: tuple[int, ...]) -> EncodedPairs:
    """Return the pairs with `tail` as the last tokens of truncated documents, which become rows of their own."""
    places = np.flatnonzero(is_truncated)
    kept = pairs.document_lengths[places] - len(tail)
    cuts, row_of = np.unique(np.stack([pairs.document_of[places], kept], axis=1), axis=0, return_inverse=True)
    heads = pairs.documents.take(cuts[:, 0], lengths=np.maximum(cuts[:, 1], 0))
    ids = np.split(heads.values, heads.offsets[1:-1])
    rows = [[*row.tolist(), *tail] for row in ids]
    added = Ragged.from_rows(rows)
    documents = Ragged(
        np.concatenate([pairs.documents.values, added.values]),
        offsets_of(np.concatenate([pairs.documents.lengths, added.lengths])),
    )
    document_of = pairs.document_of.copy()
    document_of[places] = len(pairs.documents) + row_of.ravel()
    return replace(pairs, documents=documents, document_of=document_of)
