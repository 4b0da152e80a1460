"""Synthetic long documents: paragraphs of sentences of words whose frequencies fall as in natural language."""

from functools import lru_cache

import numpy as np
import numpy.typing as npt

_LETTERS = np.array(list("etaoinshrdlucmfwyp"))
_WORDS = 5_000
_WORDS_PER_SENTENCE = (6, 22)
_SENTENCES = (2, 8)


@lru_cache(maxsize=1)
def _vocabulary() -> npt.NDArray[np.str_]:
    rng = np.random.default_rng(7)
    return np.array(["".join(rng.choice(_LETTERS, size=size)) for size in rng.integers(2, 7, size=_WORDS)])


def document(rng: np.random.Generator, paragraphs: int) -> str:
    """Return a document of so many paragraphs, with a blank line between them."""
    return "\n\n".join(_paragraph(rng) for _ in range(paragraphs))


def changed(rng: np.random.Generator, text: str) -> str:
    """Return a document in which one paragraph is replaced by another."""
    paragraphs = text.split("\n\n")
    paragraphs[rng.integers(len(paragraphs))] = _paragraph(rng)
    return "\n\n".join(paragraphs)


def _paragraph(rng: np.random.Generator) -> str:
    counts = rng.integers(*_WORDS_PER_SENTENCE, size=rng.integers(*_SENTENCES))
    frequencies = 1 / np.arange(1, _WORDS + 1)
    words = rng.choice(_vocabulary(), size=counts.sum(), p=frequencies / frequencies.sum())
    sentences = np.split(words, np.cumsum(counts)[:-1])
    return " ".join(f"{' '.join(sentence).capitalize()}." for sentence in sentences)
