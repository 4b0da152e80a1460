"""Windows of a text, written down as docs/batch.md describes them, character by character, with the reference library.

Slow, and independent of what it checks: the tokeniser is transformers', and `regex` knows what a character is.
"""

from typing import Any

import regex

SENTENCE_ENDS = ".!?…"
WIDE_SENTENCE_ENDS = "。！？"  # noqa: RUF001
CLOSING = "\"'’”»)]」』）"  # noqa: RUF001


def windows(tokenizer: Any, text: str, size: int, overlap: int, most: int | None = None) -> list[tuple[int, int]]:
    """The spans of the windows of a text, in characters."""
    offsets = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    starts = [start for start, _ in offsets]
    if len(starts) <= size:
        return [(0, len(text))]
    spans: list[tuple[int, int]] = []
    begin = end = 0
    while end < len(text) and len(spans) != most:
        held = max([start for start in starts if start <= begin], default=starts[0])
        own = [start for start in starts if start >= held]
        end = len(text) if len(own) <= size else end_between(text, own[size - size // 5], own[size])
        if inner := text[begin:end].strip():
            start = text.index(inner, begin)
            spans.append((start, start + len(inner)))
        before = [start for start in starts if start < end]
        begin = next_begin(text, before, overlap, begin, end)
    return spans


def end_between(text: str, earliest: int, latest: int) -> int:
    """The last line end in a range of characters, else the last sentence end, else word end, else character's end."""
    places = range(latest, earliest, -1)
    for is_end in (ends_line, ends_sentence, ends_word, ends_character):
        for place in places:
            if is_end(text, place):
                return place
    return latest


def next_begin(text: str, before: list[int], overlap: int, begin: int, end: int) -> int:
    if overlap == 0:
        return end
    place = before[-overlap:][0]
    if place <= begin:
        place = min([start for start in before if start > begin], default=end)
    if place == end or text[place - 1].isspace():
        return place
    for word in range(place + 1, end + 1):
        if text[word - 1].isspace() and (word == end or not text[word].isspace()):
            return word
    return max(range(begin + 1, place + 1), key=lambda spot: (ends_character(text, spot), spot))


def ends_line(text: str, place: int) -> bool:
    return text[place - 1] == "\n"


def ends_sentence(text: str, place: int) -> bool:
    behind = text[place : place + 1]
    said = text[:place].rstrip(CLOSING)
    if said.endswith(tuple(WIDE_SENTENCE_ENDS)):
        return behind not in tuple(CLOSING + WIDE_SENTENCE_ENDS)
    return said.endswith(tuple(SENTENCE_ENDS)) and behind.isspace()


def ends_word(text: str, place: int) -> bool:
    return text[place : place + 1].isspace() and not text[place - 1].isspace()


def ends_character(text: str, place: int) -> bool:
    return place in {match.end() for match in regex.finditer(r"\X", text)}
