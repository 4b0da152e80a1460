"""Tokenise texts in chunks, each text only as far as its tokens are needed.

An encoding needs a hundred times the memory of its text, so that neither a long text nor a long list of texts is
tokenised at once.
"""

import re
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from tokenizers import Tokenizer

from rerank.arrays import IntArray, Offsets

Checkpoint = Callable[[], None]
"""Called before each chunk of work; raises an exception to end the work there."""

_CHUNK_CHARACTERS = 65_536
_CHARACTERS_PER_TOKEN = 8  # how much of a text is read first; a text with longer tokens is read again, …
_GROWTH = 8  # … and this many times as far
# A cut may change the tokens before it: those of the last word, which may be a hundred characters long and unknown as
# a whole. A text is cut between words, unless a word is longer than _LONGEST_WORD.
_TOKENS_BESIDE_A_CUT = 128
_LONGEST_WORD = 1_000
_SPACE = re.compile(r"\s")
_NO_STARTS: Offsets = np.empty(0, dtype=np.int64)


def never_stop() -> None:
    """Be the checkpoint of work that nobody cancels."""


def read_tokens(
    tokenizer: Tokenizer, texts: Sequence[str], count: int, checkpoint: Checkpoint = never_stop
) -> list[IntArray]:
    """Return the first `count` token ids of each text, without special tokens; multithreaded, and it releases the GIL.

    The tokeniser must not truncate. Only as much of a text is read as those tokens need.
    """
    rows: list[IntArray] = [np.empty(0, dtype=np.int32)] * len(texts)
    for places, _, ids in _read(tokenizer, texts, count, checkpoint):
        for place, row in zip(places, ids, strict=True):
            rows[place] = row
    return rows


def read_heads(
    tokenizer: Tokenizer, texts: Sequence[str], count: int, checkpoint: Checkpoint = never_stop
) -> tuple[list[str], list[int]]:
    """Return the part of each text that determines its first `count` tokens, and how many tokens it has, up to `count`.

    The tokeniser must not truncate.
    """
    heads, counts = list(texts), [0] * len(texts)
    for places, parts, ids in _read(tokenizer, texts, count, checkpoint):
        for place, part, row in zip(places, parts, ids, strict=True):
            heads[place], counts[place] = part, len(row)
    return heads, counts


def _read(
    tokenizer: Tokenizer, texts: Sequence[str], count: int, checkpoint: Checkpoint
) -> Iterator[tuple[list[int], list[str], list[IntArray]]]:
    """Yield places of texts, what was read of each and the first `count` ids of it; every place once."""
    characters = first_characters(count)
    left = list(range(len(texts)))
    while left:
        again: list[int] = []
        heads = [head(texts[place], characters) for place in left]
        for start, stop in chunks([len(part) for part in heads]):
            checkpoint()
            done: list[tuple[int, str, IntArray]] = []
            encodings = tokenizer.encode_batch_fast(heads[start:stop], add_special_tokens=False)
            for place, part, encoding in zip(left[start:stop], heads[start:stop], encodings, strict=True):
                if len(part) < len(texts[place]) and len(encoding) < count + _TOKENS_BESIDE_A_CUT:
                    again.append(place)
                else:
                    done.append((place, part, np.array(encoding.ids[:count], dtype=np.int32)))
            places, parts, ids = zip(*done, strict=True) if done else ((), (), ())
            yield list(places), list(parts), list(ids)
        left, characters = again, _GROWTH * characters


def read_starts(
    tokenizer: Tokenizer, texts: Sequence[str], most: int, checkpoint: Checkpoint = never_stop
) -> list[Offsets]:
    """Return the character at which each token of each text starts, ascending, without special tokens.

    Of a text with more than `most` tokens these are more than `most` of its first ones. The tokeniser must not
    truncate. Long texts are read in pieces that end between words.
    """
    starts: list[list[Offsets]] = [[] for _ in texts]
    counts, read = [0] * len(texts), [0] * len(texts)  # tokens, and characters
    left = [place for place, text in enumerate(texts) if text]
    while left:
        sizes = [min(_CHUNK_CHARACTERS, first_characters(most - counts[place])) for place in left]
        pieces = [head(texts[place], size, read[place]) for place, size in zip(left, sizes, strict=True)]
        for start, stop in chunks([len(piece) for piece in pieces]):
            checkpoint()
            encodings = tokenizer.encode_batch(pieces[start:stop], add_special_tokens=False)
            for place, piece, encoding in zip(left[start:stop], pieces[start:stop], encodings, strict=True):
                firsts = (first for first, _ in encoding.offsets)
                starts[place].append(np.fromiter(firsts, dtype=np.int64, count=len(encoding)) + read[place])
                counts[place] += len(encoding)
                read[place] += len(piece)
        left = [place for place in left if read[place] < len(texts[place]) and counts[place] <= most]
    return [np.maximum.accumulate(np.concatenate([_NO_STARTS, *parts])) for parts in starts]


def first_characters(count: int) -> int:
    """Return how many characters of a text are read first for `count` tokens; shorter texts are read as a whole."""
    return _CHARACTERS_PER_TOKEN * (count + _TOKENS_BESIDE_A_CUT)


def chunks(sizes: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield the start and stop of consecutive chunks of texts of these sizes, in characters; a large text is alone."""
    start, total = 0, 0
    for place, size in enumerate(sizes):
        if place > start and total + size > _CHUNK_CHARACTERS:
            yield start, place
            start, total = place, 0
        total += size
    if start < len(sizes):
        yield start, len(sizes)


def head(text: str, characters: int, start: int = 0) -> str:
    """Return `characters` characters of a text from `start`, and the rest of the word in which they end."""
    last = start + characters
    if len(text) <= last:
        return text[start:]
    end = _SPACE.search(text, last, last + _LONGEST_WORD)
    return text[start : end.start() if end else last]
