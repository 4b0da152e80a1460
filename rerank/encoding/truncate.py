"""How many tokens of each text a pair keeps, and whether any may be lost."""

import numpy as np
import numpy.typing as npt

from rerank.arrays import IntArray
from rerank.errors import InputError, TooLongError
from rerank.types import TokenLimits


def pair_limit(limits: TokenLimits, max_length: int, *, special_count: int) -> int:
    """Tokens of a pair at most. Raises InputError where all of them would be special tokens."""
    if limits.pair is None:
        return max_length
    if limits.pair <= special_count:
        raise InputError(f"pairs must be cut to more than their {special_count} special tokens, got {limits.pair}")
    return min(limits.pair, max_length)


def refuse_cut(cut: npt.NDArray[np.bool_], most: int) -> None:
    """Raise TooLongError for the first pair that was cut to `most` tokens."""
    if cut.any():
        raise TooLongError(int(np.argmax(cut)), most)


def truncate_longest_first(
    first: npt.NDArray[np.integer], second: npt.NDArray[np.integer], budget: int
) -> tuple[IntArray, IntArray]:
    """Lengths of both texts after truncation to `budget` tokens together.

    The longer text is cut down to the shorter one, then both alike, the longer keeping the odd token: what the
    tokenizers library does for `longest_first` (its `utils/truncation.rs`).
    """
    short, long = np.minimum(first, second), np.maximum(first, second)
    over = short + long > budget
    halved = over & (short > budget - short)
    cut_long = np.where(halved, budget - budget // 2, np.where(over, budget - short, long))
    cut_short = np.where(halved, budget // 2, short)
    first_is_long = first > second
    return (
        np.where(first_is_long, cut_long, cut_short).astype(np.int32),
        np.where(first_is_long, cut_short, cut_long).astype(np.int32),
    )
