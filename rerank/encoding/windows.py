"""Windows of long texts: where a document is split into passages, each of which is scored as a text of its own.

Windows depend on the text and the tokeniser alone, not on the query: queries share them, and a score store keeps them.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol
from unicodedata import category

import numpy as np
import numpy.typing as npt

from rerank.arrays import IntArray, Offsets, offsets_of, spans
from rerank.config import PassageSettings
from rerank.encoding.reading import Checkpoint, never_stop
from rerank.errors import ConfigError, InputError

_USUAL_TOKENS = 256
_EVERY_TOKEN = 2**31 - 1
_FULL_SHARE = 5  # a window ends at a sentence or a word if one ends in its last fifth
# Ends in alphabets are followed by white space, those in Chinese and Japanese are not; quotes and brackets may close.
_CLOSING = "[\"'\u2019\u201d\u00bb)\\]\u300d\u300f\uff09]*"
_LINE_OR_SENTENCE_END = re.compile(rf"\n|[.!?\u2026]+{_CLOSING}(?=\s)|[\u3002\uff01\uff1f\uff61]+{_CLOSING}")
_END_CHARACTERS = 8  # a sentence end has hardly more: what follows a full stop may lie in the range without it
_SPACE = re.compile(r"\s+")
_ZERO_WIDTH_JOINER = "\u200d"
_SKIN_TONE = re.compile("[\U0001f3fb-\U0001f3ff]")
_FLAG_LETTERS = re.compile("[\U0001f1e6-\U0001f1ff]+$")  # two of them are a flag
_MOST_FLAG_LETTERS = 64


class WindowTokenizer(Protocol):
    """What splitting texts needs of an encoder."""

    @property
    def max_length(self) -> int:
        """Return the most tokens that a pair may have; of texts that are encoded by themselves, a text."""
        ...

    @property
    def passage_limit(self) -> int:
        """Return the most tokens of a document that are never truncated beside a query of usual length."""
        ...

    def token_starts(self, texts: Sequence[str], most: int, checkpoint: Checkpoint = never_stop) -> list[Offsets]:
        """Return the characters at which the tokens of each text start, see `rerank.encoding.reading.read_starts`."""
        ...


@dataclass(frozen=True, slots=True)
class Windows:
    """Windows of documents, in the order of the documents.

    Window i is the characters from starts[i] up to but not including ends[i] of document document_of[i]. Documents
    marked in `is_cut` [documents] go on behind their last window, for they would have too many.
    """

    document_of: IntArray
    starts: IntArray
    ends: IntArray
    is_cut: npt.NDArray[np.bool_]

    @property
    def counts(self) -> npt.NDArray[np.intp]:
        """Return the number of windows of each document, at least 1, shape [documents]."""
        return np.bincount(self.document_of, minlength=len(self.is_cut))

    def rows_of(self, documents: npt.NDArray[np.integer]) -> Offsets:
        """Return the rows of the windows of these documents, in this order."""
        counts = self.counts
        return spans(offsets_of(counts)[documents], counts[documents])

    def of(self, documents: npt.NDArray[np.integer]) -> "Windows":
        """Return the windows of these documents, in this order."""
        rows = self.rows_of(documents)
        document_of = np.repeat(np.arange(len(documents), dtype=np.int32), self.counts[documents])
        return Windows(document_of, self.starts[rows], self.ends[rows], self.is_cut[documents])

    def texts(self, documents: Sequence[str]) -> list[str]:
        """Return the text of each window."""
        bounds = zip(self.document_of.tolist(), self.starts.tolist(), self.ends.tolist(), strict=True)
        return [documents[document][start:end] for document, start, end in bounds]


@dataclass(frozen=True, slots=True)
class WindowSizes:
    """The tokens of a window, how many of them it repeats from the one before it, and how many windows a text has.

    `most` None: as many as it needs.
    """

    tokens: int
    overlap: int
    most: int | None = None


class Splitter:
    """Splits documents into windows for one encoder."""

    def __init__(self, encoder: WindowTokenizer, settings: PassageSettings) -> None:
        """Raises ConfigError if a window would not fit into the model's limit, or not hold more than its overlap."""
        limit = encoder.passage_limit
        tokens = min(_USUAL_TOKENS, limit) if settings.tokens is None else settings.tokens
        if tokens > limit:
            raise ConfigError(
                f"passages: tokens must be at most {limit}, which is what the model's limit of {encoder.max_length} "
                f"tokens leaves beside a query, got {tokens}"
            )
        if settings.overlap >= tokens:
            raise ConfigError(
                f"passages: overlap must be smaller than a passage of {tokens} tokens, got {settings.overlap}"
            )
        self._encoder = encoder
        self.sizes = WindowSizes(tokens, settings.overlap, settings.most)

    def sizes_with(self, *, overlap: int | None, most: int | None) -> WindowSizes:
        """Return the sizes with another overlap and no more than `most` windows; None: those of the settings.

        Raises InputError if the overlap is not smaller than a window.
        """
        overlap = self.sizes.overlap if overlap is None else overlap
        if overlap >= self.sizes.tokens:
            raise InputError(f"the overlap must be smaller than a passage of {self.sizes.tokens} tokens, got {overlap}")
        counts = [count for count in (most, self.sizes.most) if count is not None]
        return WindowSizes(self.sizes.tokens, overlap, min(counts, default=None))

    def split(
        self,
        documents: Sequence[str],
        *,
        sizes: WindowSizes | None = None,
        document_tokens: int | None = None,
        checkpoint: Checkpoint = never_stop,
    ) -> Windows:
        """Return the windows of documents that are not blank, of each only the first `document_tokens` tokens.

        A document that fits into one window has one, with all of its text. `sizes` replace those of the settings.
        """
        sizes = sizes or self.sizes
        needed = _EVERY_TOKEN if sizes.most is None else sizes.most * sizes.tokens
        needed = needed if document_tokens is None else min(needed, document_tokens)
        spans: list[tuple[int, int]] = []
        counts: list[int] = []
        is_cut: list[bool] = []
        all_starts = self._encoder.token_starts(documents, needed, checkpoint)
        for text, starts in zip(documents, all_starts, strict=True):
            length = len(text)
            if document_tokens is not None and len(starts) > document_tokens:
                length = max(1, int(starts[document_tokens]))
                starts = starts[:document_tokens]
            own_spans, end = split_text(text, starts, sizes, length)
            spans += own_spans
            counts.append(len(own_spans))
            is_cut.append(bool(text[end:length].strip()))
        bounds = np.array(spans, dtype=np.int32).reshape(-1, 2)
        document_of = np.repeat(np.arange(len(documents), dtype=np.int32), counts)
        return Windows(document_of, bounds[:, 0], bounds[:, 1], np.array(is_cut, dtype=np.bool_))


def split_text(
    text: str, starts: Offsets, sizes: WindowSizes, length: int | None = None
) -> tuple[list[tuple[int, int]], int]:
    """Return the windows of the first `length` characters of a text, and how far they were read, in characters.

    `starts` are the characters at which its tokens start: of all tokens, or of enough for `sizes.most` windows. A
    window takes as many tokens as it may and then ends at the last line end in its last fifth, else at the last
    sentence end there, else behind the last word, else between characters. The next one starts `sizes.overlap` tokens
    before that end, at a word or at least at a character. White space at the edges of windows is left out.
    """
    length = len(text) if length is None else length
    if len(starts) <= sizes.tokens:
        return [(0, length)], length
    spans: list[tuple[int, int]] = []
    start, end = 0, 0
    while end < length and (sizes.most is None or len(spans) < sizes.most):
        last = _token_at(starts, start) + sizes.tokens
        if last >= len(starts):
            end = length
        else:
            earliest = int(starts[last - sizes.tokens // _FULL_SHARE])
            end = _end_of_window(text, max(earliest, start), max(int(starts[last]), start + 1))
        if span := _stripped(text, start, end):
            spans.append(span)
        start = _start_of_next(text, starts, sizes.overlap, start, end)
    return spans or [(0, length)], end


def _token_at(starts: Offsets, character: int) -> int:
    """Return the first token of the one or more that `character` is a part of."""
    last = max(0, int(np.searchsorted(starts, character, side="right")) - 1)
    return int(np.searchsorted(starts, starts[last]))


def _end_of_window(text: str, earliest: int, latest: int) -> int:
    """Return where a window ends, behind `earliest` and at most at `latest`."""
    first = max(0, earliest - _END_CHARACTERS)
    ends = [match.end() for match in _LINE_OR_SENTENCE_END.finditer(text, first, latest + 1)]
    ends = [end for end in ends if earliest < end <= latest]
    if ends:  # lines first: where a paragraph grew, the windows behind it are soon the same again
        return max(ends, key=lambda end: (text[end - 1] == "\n", end))
    words = [match.start() for match in _SPACE.finditer(text, earliest, latest + 1)]
    words = [end for end in words if end > earliest]
    return words[-1] if words else _between_characters(text, earliest, latest)


def _start_of_next(text: str, starts: Offsets, overlap: int, start: int, end: int) -> int:
    """Return where the window starts that follows the one from `start` to `end`: at a word, if there is one."""
    if overlap == 0:
        return end
    begin = int(starts[max(0, int(np.searchsorted(starts, end)) - overlap)])
    if begin <= start:  # the next token, unless all others start at the same character
        following = int(np.searchsorted(starts, start, side="right"))
        begin = min(int(starts[following]), end) if following < len(starts) else end
    if begin == end or text[begin - 1].isspace():
        return begin
    space = _SPACE.search(text, begin, end)
    return space.end() if space else _between_characters(text, start, begin)


def _between_characters(text: str, earliest: int, place: int) -> int:
    """Return the last place up to this one, and behind `earliest`, that parts no character; else this one."""
    places = range(place, earliest, -1)
    return next((candidate for candidate in places if not _parts_a_character(text, candidate)), place)


def _parts_a_character(text: str, place: int) -> bool:
    """Return whether what is seen as one character lies on both sides: an accented letter, an emoji, a flag."""
    if place >= len(text):
        return False
    before, behind = text[place - 1], text[place]
    if category(behind).startswith("M") or _ZERO_WIDTH_JOINER in (before, behind) or _SKIN_TONE.match(behind):
        return True
    letters = _FLAG_LETTERS.search(text[max(0, place - _MOST_FLAG_LETTERS) : place])
    return bool(_FLAG_LETTERS.match(behind) and letters and len(letters.group()) % 2)


def _stripped(text: str, start: int, end: int) -> tuple[int, int] | None:
    """Return a span without the white space at its edges; None if it is blank."""
    inner = text[start:end].lstrip()
    start = end - len(inner)
    inner = inner.rstrip()
    return (start, start + len(inner)) if inner else None
