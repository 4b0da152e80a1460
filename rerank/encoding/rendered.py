"""Encode pairs of a chat template whose text cannot be joined from ids: the whole text is tokenised for every pair."""

from collections.abc import Sequence

import numpy as np
from tokenizers import Encoding, Tokenizer

from rerank.arrays import IntArray, Offsets, Ragged
from rerank.encoding.chat_template import ChatSlot, ChatTemplate, InstructionSlot, Splice
from rerank.encoding.pairs import EncodedPairs, PairTemplate
from rerank.encoding.reading import Checkpoint, chunks, never_stop, read_starts
from rerank.encoding.truncate import beside_a_query, pair_limit, refuse_truncated
from rerank.errors import ModelError
from rerank.ranking.instructions import InstructionPlace, Instructions, in_front
from rerank.ranking.relevance import Relevance
from rerank.types import AS_THE_MODEL, TokenLimits

_CHARACTERS_PER_TOKEN = 64  # a longer document is cut before it is rendered
_MARK = "Zd8DOCUMENTd8Z"


class RenderedEncoder:
    """A chat template and a tokeniser: slower, because a text is tokenised again for each of its pairs.

    In the EncodedPairs that it returns, a pair is a document without a query. If a pair is too long, tokens of its
    document are left out, from the end; without enough of them, tokens before the template's last piece.
    """

    unit = "pair"
    relevance = Relevance.SIGMOID
    template = row_template = PairTemplate(((), (), ()), (0, 0, 0, 0, 0))

    def __init__(
        self,
        tokenizer: Tokenizer,
        template: ChatTemplate | Splice,
        *,
        max_length: int,
        slot: InstructionSlot | ChatSlot | None = None,
    ) -> None:
        """Render pairs by `template`. `slot` is its place for an instruction; None: it has none.

        Raises ModelError if max_length leaves no room for texts.
        """
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer, self._template, self._slot, self.max_length = tokenizer, template, slot, max_length
        self.instruction_place = InstructionPlace.QUERY if slot is None else InstructionPlace.TEMPLATE
        self.text_format = template.render("", "")
        constant = len(self._encode([self.text_format])[0].ids)
        if max_length <= constant:
            raise ModelError(f"max_length must be above {constant}, the constant tokens of a pair, got {max_length}")
        self._constant = constant

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
        most = pair_limit(limits, self.max_length, special_count=self._constant)
        texts = [text[: _CHARACTERS_PER_TOKEN * self.max_length] for text in documents]
        templates: list[ChatTemplate | Splice] = [self._template] * len(queries)
        if self._slot is None:
            queries = in_front(queries, instructions)
        elif instructions is not None:
            templates = [self._slot.fill(text) if text else self._template for text in instructions]
        pairs = [(queries[query], texts[document]) for query, document in zip(query_of, document_of, strict=True)]
        rows: list[list[int]] = []
        is_truncated: list[bool] = []
        for start, stop in chunks([len(query) + len(document) for query, document in pairs]):
            checkpoint()
            part = pairs[start:stop]
            chosen = [templates[query] for query in query_of[start:stop]]
            rendered = [template.render(*pair) for template, pair in zip(chosen, part, strict=True)]
            for template, pair, text, encoding in zip(chosen, part, rendered, self._encode(rendered), strict=True):
                ids = encoding.ids
                if limits.document is not None or len(ids) > most:
                    first, last = _place_of_document(template, pair, text, encoding)
                    kept = last - first if limits.document is None else min(last - first, limits.document)
                    ids = [*ids[: first + kept], *ids[last:]]
                    is_truncated.append(len(ids) > most)
                    ids = _fit(ids, first, first + kept, most)
                else:
                    is_truncated.append(False)
                rows.append(ids)
        if limits.strict:
            refuse_truncated(np.array(is_truncated, dtype=np.bool_), most)
        ragged = Ragged.from_rows(rows)
        return EncodedPairs(
            template=self.template,
            queries=Ragged.from_rows([()] * len(queries)),
            documents=ragged,
            query_of=query_of,
            document_of=np.arange(len(ragged), dtype=np.int32),
            query_lengths=np.zeros(len(ragged), dtype=np.int32),
            document_lengths=ragged.lengths.astype(np.int32),
            is_truncated=np.array(is_truncated, dtype=np.bool_),
        )

    @property
    def passage_limit(self) -> int:
        """Return the most tokens of a document that are never truncated beside a query of usual length."""
        return beside_a_query(self.max_length - self._constant)

    def token_starts(self, texts: Sequence[str], most: int, checkpoint: Checkpoint = never_stop) -> list[Offsets]:
        """Return the characters at which the tokens of each text start, see `read_starts`."""
        return read_starts(self._tokenizer, texts, most, checkpoint)

    def _encode(self, texts: list[str]) -> list[Encoding]:
        encodings: list[Encoding] = self._tokenizer.encode_batch(texts, add_special_tokens=False)
        return encodings


def _place_of_document(
    template: ChatTemplate | Splice, pair: tuple[str, str], text: str, encoding: Encoding
) -> tuple[int, int]:
    """Return the first token of the document and the first one behind it; the last token twice if unknown."""
    before, mark, behind = template.render(pair[0], _MARK).partition(_MARK)
    if mark and text.startswith(before) and text.endswith(behind):
        start, stop = len(before), len(text) - len(behind)
        inside = [place for place, (a, b) in enumerate(encoding.offsets) if start <= a < b <= stop]
        if inside:
            return inside[0], inside[-1] + 1
    return len(encoding.ids), len(encoding.ids)


def _fit(ids: list[int], first: int, last: int, most: int) -> list[int]:
    """Return at most `most` ids: without the last ones before `last`, those from `first` being the document's.

    If the document has not enough of them, tokens before it go, and then those behind it, from the front.
    """
    kept = max(first, min(last, most - (len(ids) - last)))
    head, tail = ids[:kept], ids[last:]
    return [*head[: max(0, most - len(tail))], *tail][-most:]
