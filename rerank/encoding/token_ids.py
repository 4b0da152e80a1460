"""Tokenise texts; of very long ones only as much as fits into a row."""

import re
from collections.abc import Sequence

from tokenizers import Tokenizer

# A text with more characters per token of max_length than this is cut before it is tokenised, because an encoding needs
# a hundred times the memory of its text. Some tokens more than needed are read, because a cut may change nearby tokens.
_CHARACTERS_PER_TOKEN = 16
# Shorter texts are never cut: the longer text of a truncated pair keeps the odd token, and the length of a cut text is
# unknown. This makes a difference only if the query is longer than this, too.
_SHORTEST_CUT = 65_536
_TOKENS_BESIDE_A_CUT = 64
_LONGEST_WORD = 1_000
_SPACE = re.compile(r"\s")


def token_ids(
    tokenizer: Tokenizer, texts: Sequence[str], *, max_length: int, characters: int | None = None
) -> list[list[int]]:
    """Return the token ids of each text, without the special tokens that the tokeniser adds; multithreaded.

    Of a text with far more characters than `max_length` tokens have, only the beginning is read, if that is enough to
    fill `max_length`. `characters`: how many are far more.
    """
    characters = characters or max(_SHORTEST_CUT, _CHARACTERS_PER_TOKEN * max_length)
    heads = [text if len(text) <= characters else _head(text, characters) for text in texts]
    rows = [encoding.ids for encoding in tokenizer.encode_batch_fast(heads, add_special_tokens=False)]
    enough = max_length + _TOKENS_BESIDE_A_CUT
    short = [
        row
        for row, (text, head, ids) in enumerate(zip(texts, heads, rows, strict=True))
        if len(head) < len(text) and len(ids) < enough
    ]
    if short:
        again = token_ids(tokenizer, [texts[row] for row in short], max_length=max_length, characters=8 * characters)
        for row, ids in zip(short, again, strict=True):
            rows[row] = ids
    return rows


def _head(text: str, characters: int) -> str:
    """Return the first `characters` characters and the rest of the word in which they end."""
    end = _SPACE.search(text, characters, characters + _LONGEST_WORD)
    return text[: end.start() if end else characters]
