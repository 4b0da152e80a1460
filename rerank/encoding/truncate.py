"""Truncation: how many tokens of each text a pair keeps, and whether truncation is allowed."""

import numpy as np
import numpy.typing as npt

from rerank.arrays import IntArray
from rerank.errors import InputError, TooLongError
from rerank.types import TokenLimits

# A passage leaves room for a query of so many tokens, or of a quarter of a small limit.
_QUERY_TOKENS, _QUERY_SHARE = 64, 4


def beside_a_query(budget: int) -> int:
    """Return how many of `budget` tokens a passage may have, so that a usual query fits beside it."""
    return budget - min(_QUERY_TOKENS, budget // _QUERY_SHARE)


def pair_limit(limits: TokenLimits, max_length: int, *, special_count: int) -> int:
    """Return the most tokens that a pair may have. Raises InputError if there is no room besides special tokens."""
    if limits.pair is None:
        return max_length
    if limits.pair <= special_count:
        raise InputError(f"the limit of a pair must be above its {special_count} special tokens, got {limits.pair}")
    return min(limits.pair, max_length)


def refuse_truncated(is_truncated: npt.NDArray[np.bool_], most: int) -> None:
    """Raise TooLongError for the first pair that was truncated to `most` tokens."""
    if is_truncated.any():
        raise TooLongError(int(np.argmax(is_truncated)), most)


def truncate_longest_first(
    first: npt.NDArray[np.integer], second: npt.NDArray[np.integer], budget: int
) -> tuple[IntArray, IntArray]:
    """Return the lengths of both texts, [pairs] each, after truncation to `budget` tokens together.

    First the longer text is truncated to the length of the shorter one, then both equally; the longer one keeps the odd
    token. The tokenizers library does the same for `longest_first` (in `utils/truncation.rs`).
    """
    short, long = np.minimum(first, second), np.maximum(first, second)
    over = short + long > budget
    halved = over & (short > budget - short)
    kept_long = np.where(halved, budget - budget // 2, np.where(over, budget - short, long))
    kept_short = np.where(halved, budget // 2, short)
    first_is_long = first > second
    return (
        np.where(first_is_long, kept_long, kept_short).astype(np.int32),
        np.where(first_is_long, kept_short, kept_long).astype(np.int32),
    )
