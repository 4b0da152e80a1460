"""Pairs into batches: longest first, cut by tokens, so that little padding is computed and big texts fail early."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from rerank.arrays import IntArray


def plan_batches(
    lengths: npt.NDArray[np.integer],
    *,
    batch_tokens: int,
    padded: bool = True,
    batch_cost: int | None = None,
    share: Callable[[int], int] | None = None,
) -> list[npt.NDArray[np.intp]]:
    """Indices of the pairs of each batch, which holds at most `batch_tokens` tokens or is one pair.

    What counts are all places of the grid, rows times longest row, or without padding the tokens alone. A padded batch
    is cut in two where that spares more places than `batch_cost`. `share` makes batches smaller: it says how many
    tokens the next one may have out of those that are left (all of them: as many as fit). Pairs without tokens are in
    no batch. Equal lengths keep their order, so the same pairs always give the same batches.
    """
    order = np.argsort(-lengths, kind="stable")[: np.count_nonzero(lengths)]
    ends = np.cumsum(lengths[order], dtype=np.int64)
    batches = []
    start = 0
    while start < len(order):
        longest = int(lengths[order[start]])
        before = int(ends[start]) - longest
        left = int(ends[-1]) - before
        shared = share(left) if share else left
        budget = min(batch_tokens, shared) if shared < left else batch_tokens
        rows = budget // longest if padded else int(np.searchsorted(ends, before + budget, side="right")) - start
        batch = order[start : start + max(1, rows)]
        batches += [batch] if batch_cost is None or not padded else _parted(batch, lengths[batch], batch_cost)
        start += max(1, rows)
    return batches


def _parted(batch: npt.NDArray[np.intp], lengths: npt.NDArray[np.integer], cost: int) -> list[npt.NDArray[np.intp]]:
    """The batch, longest first, in parts of like lengths: again and again cut where most padding goes."""
    spared = (lengths[0] - lengths) * np.arange(len(lengths), 0, -1)
    cut = int(spared.argmax())
    if spared[cut] <= cost:
        return [batch]
    return _parted(batch[:cut], lengths[:cut], cost) + _parted(batch[cut:], lengths[cut:], cost)


def computed_tokens(lengths: npt.NDArray[np.integer], *, padded: bool) -> int:
    """Tokens that are computed for a batch of these lengths, longest first."""
    return len(lengths) * int(lengths[0]) if padded else int(lengths.sum())


def pad(values: IntArray, offsets: npt.NDArray[np.int64], *, fill: int) -> npt.NDArray[np.int64]:
    """Ragged rows as a [rows, longest row] grid, filled up on the right."""
    lengths = np.diff(offsets)
    grid = np.full((len(lengths), int(lengths.max(initial=0))), fill, dtype=np.int64)
    grid[row_mask(lengths)] = values
    return grid


def row_mask(lengths: npt.NDArray[np.integer]) -> npt.NDArray[np.bool_]:
    """True where a padded grid holds a token: [rows, longest row]."""
    columns: npt.NDArray[np.intp] = np.arange(int(lengths.max(initial=0)))
    mask: npt.NDArray[np.bool_] = columns < lengths[:, None]
    return mask
