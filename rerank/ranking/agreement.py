"""Measure how far two rankings of the same documents agree."""

from bisect import bisect
from collections.abc import Hashable, Sequence
from math import nan
from typing import TypeVar

Document = TypeVar("Document", bound=Hashable)

TOP = 10
"""The documents of a ranking whose overlap is reported."""


def kendall_tau(first: Sequence[Document], second: Sequence[Document]) -> float:
    """Return Kendall's tau of two rankings over the documents that both hold: 1 same order, -1 reversed.

    It is 1 minus twice the share of document pairs that the two order differently. NaN for fewer than 2 common
    documents. Each ranking is best first and holds a document once. Takes O(n log n) comparisons.
    """
    place_of = {document: place for place, document in enumerate(first)}
    places = [place_of[document] for document in second if document in place_of]
    pairs = len(places) * (len(places) - 1) // 2
    if pairs == 0:
        return nan
    sorted_places: list[int] = []
    discordant = 0
    for place in places:
        at = bisect(sorted_places, place)
        discordant += len(sorted_places) - at
        sorted_places.insert(at, place)
    return 1 - 2 * discordant / pairs


def top_overlap(first: Sequence[Document], second: Sequence[Document], top: int = TOP) -> float:
    """Return the share of the first `top` documents that both rankings have there, from 0 to 1.

    Rankings that are shorter than `top` are compared as they are: the longer of the two is the whole. 1 if both are
    empty.
    """
    first_top, second_top = set(first[:top]), set(second[:top])
    whole = max(len(first_top), len(second_top))
    return len(first_top & second_top) / whole if whole else 1.0
