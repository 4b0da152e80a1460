"""Split pairs into batches by tokens, longest first, so that there is little padding and too large ones fail early."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from rerank.arrays import IntArray
from rerank.engines.batches.prefixes import Prefixes


def plan_batches(
    lengths: npt.NDArray[np.integer],
    *,
    batch_tokens: int,
    padded: bool = True,
    batch_cost: int | None = None,
    share: Callable[[int], int] | None = None,
    prefixes: Prefixes | None = None,
) -> list[npt.NDArray[np.intp]]:
    """Return the indices of the pairs of each batch. A batch has at most `batch_tokens` tokens, or is a single pair.

    If `padded`, a batch counts as rows times longest row. Such a batch is split further where that saves more tokens of
    padding than `batch_cost`, the overhead of one more batch in tokens (None: no splitting). `share` makes batches
    smaller: given the tokens that are left, it returns how many of them the next batch may have. Pairs without tokens
    are in no batch. Equal lengths keep their order, so that the same pairs always give the same batches.

    `prefixes` keeps pairs with the same prefix together, those with the longest pair first; a batch counts each prefix
    once. It is for rows that are not padded.
    """
    order, saved = _sorted(lengths, prefixes)
    ends = np.cumsum(lengths[order] - saved, dtype=np.int64)
    batches = []
    start = 0
    while start < len(order):
        longest = int(lengths[order[start]])
        before = int(ends[start]) - longest  # as if the batch before had not had the first prefix
        remaining = int(ends[-1]) - before
        allowed = share(remaining) if share else remaining
        budget = min(batch_tokens, allowed) if allowed < remaining else batch_tokens
        rows = budget // longest if padded else int(np.searchsorted(ends, before + budget, side="right")) - start
        batch = order[start : start + max(1, rows)]
        batches += [batch] if batch_cost is None or not padded else _split(batch, lengths[batch], batch_cost)
        start += max(1, rows)
    return batches


def _sorted(
    lengths: npt.NDArray[np.integer], prefixes: Prefixes | None
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.integer]]:
    """Return the order of the rows that have tokens, and of each of them the tokens that the row before it has, too."""
    count = np.count_nonzero(lengths)
    if prefixes is None:
        order = np.argsort(-lengths, kind="stable")[:count]
        return order, np.zeros_like(order)
    longest = np.zeros(len(lengths), dtype=lengths.dtype)
    np.maximum.at(longest, prefixes.groups, lengths)
    order = np.lexsort((-lengths, prefixes.groups, -longest[prefixes.groups]))[:count]
    groups = prefixes.groups[order]
    is_repeated = np.concatenate(([False], groups[1:] == groups[:-1]))[:count]
    return order, np.where(is_repeated, prefixes.lengths[order], 0)


def _split(batch: npt.NDArray[np.intp], lengths: npt.NDArray[np.integer], cost: int) -> list[npt.NDArray[np.intp]]:
    """Split a batch, longest first, recursively where that saves the most padding, as long as it is worth `cost`."""
    saved = (lengths[0] - lengths) * np.arange(len(lengths), 0, -1)
    place = int(saved.argmax())
    if saved[place] <= cost:
        return [batch]
    return _split(batch[:place], lengths[:place], cost) + _split(batch[place:], lengths[place:], cost)


def computed_tokens(lengths: npt.NDArray[np.integer], *, padded: bool) -> int:
    """Return the tokens that are computed for a batch of these lengths, longest first."""
    return len(lengths) * int(lengths[0]) if padded else int(lengths.sum())


def pad(values: IntArray, offsets: npt.NDArray[np.int64], *, fill: int, left: bool = False) -> npt.NDArray[np.int64]:
    """Return concatenated rows as a [rows, longest row] grid, padded with `fill` on the right or on the left."""
    lengths = np.diff(offsets)
    grid = np.full((len(lengths), int(lengths.max(initial=0))), fill, dtype=np.int64)
    grid[row_mask(lengths, left=left)] = values
    return grid


def row_mask(lengths: npt.NDArray[np.integer], *, left: bool = False) -> npt.NDArray[np.bool_]:
    """Return True where a grid, padded on the right or on the left, holds a token, shape [rows, longest row]."""
    columns: npt.NDArray[np.intp] = np.arange(int(lengths.max(initial=0)))
    mask: npt.NDArray[np.bool_] = columns < lengths[:, None]
    return mask[:, ::-1] if left else mask
