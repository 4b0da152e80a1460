"""Encode pairs of a chat template whose text cannot be joined from ids: the whole text is tokenised for every pair."""

from collections.abc import Sequence

import numpy as np
from tokenizers import Encoding, Tokenizer

from rerank.arrays import IntArray, Ragged
from rerank.encoding.chat_template import ChatTemplate, Splice
from rerank.encoding.pairs import EncodedPairs, PairTemplate
from rerank.encoding.truncate import pair_limit, refuse_truncated
from rerank.errors import ModelError
from rerank.ranking.relevance import Relevance
from rerank.types import AS_THE_MODEL, TokenLimits

_PAIRS_AT_ONCE = 256  # an encoding needs a hundred times the memory of its text
_CHARACTERS_PER_TOKEN = 64  # a longer document is cut before it is rendered
_MARK = "Zd8DOCUMENTd8Z"


class RenderedEncoder:
    """A chat template and a tokeniser: slower, because a text is tokenised again for each of its pairs.

    In the EncodedPairs that it returns, a pair is a document without a query. If a pair is too long, tokens of its
    document are left out, from the end; without enough of them, tokens before the template's last piece.
    """

    unit = "pair"
    relevance = Relevance.SIGMOID
    template = PairTemplate(((), (), ()), (0, 0, 0, 0, 0))

    def __init__(self, tokenizer: Tokenizer, template: ChatTemplate | Splice, *, max_length: int) -> None:
        """Raises ModelError if max_length leaves no room for texts."""
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer, self._template, self.max_length = tokenizer, template, max_length
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
    ) -> EncodedPairs:
        """Return pair i of query query_of[i] and document document_of[i], see `PairEncoder.encode`; multithreaded."""
        most = pair_limit(limits, self.max_length, special_count=self._constant)
        texts = [text[: _CHARACTERS_PER_TOKEN * self.max_length] for text in documents]
        pairs = [(queries[query], texts[document]) for query, document in zip(query_of, document_of, strict=True)]
        rows: list[list[int]] = []
        is_truncated: list[bool] = []
        for start in range(0, len(pairs), _PAIRS_AT_ONCE):
            part = pairs[start : start + _PAIRS_AT_ONCE]
            rendered = [self._template.render(*pair) for pair in part]
            for pair, text, encoding in zip(part, rendered, self._encode(rendered), strict=True):
                is_truncated.append(len(encoding.ids) > most)
                if is_truncated[-1] or limits.document is not None:
                    rows.append(self._cut(pair, text, encoding, most, limits.document))
                else:
                    rows.append(encoding.ids)
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
        )

    def _encode(self, texts: list[str]) -> list[Encoding]:
        encodings: list[Encoding] = self._tokenizer.encode_batch(texts, add_special_tokens=False)
        return encodings

    def _cut(
        self, pair: tuple[str, str], text: str, encoding: Encoding, most: int, most_of_document: int | None
    ) -> list[int]:
        """Return the ids of a pair without the last tokens of its document, so that they fit."""
        start, stop = self._place_of_document(pair, text)
        offsets = encoding.offsets
        inside = [place for place, (a, b) in enumerate(offsets) if start <= a < b <= stop]
        first, last = (inside[0], inside[-1] + 1) if inside else (len(encoding.ids), len(encoding.ids))
        kept = last - first if most_of_document is None else min(last - first, most_of_document)
        kept = max(0, min(kept, most - (len(encoding.ids) - (last - first))))
        head, tail = encoding.ids[: first + kept], encoding.ids[last:]
        return [*head[: most - len(tail)], *tail]

    def _place_of_document(self, pair: tuple[str, str], text: str) -> tuple[int, int]:
        """Return where the document begins and ends in the rendered text; its whole rest if that cannot be told."""
        before, mark, behind = self._template.render(pair[0], _MARK).partition(_MARK)
        if mark and text.startswith(before) and text.endswith(behind):
            return len(before), len(text) - len(behind)
        return 0, len(text)
