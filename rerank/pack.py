"""Pairs into batches: longest first, cut by tokens, so that little padding is computed and big texts fail early."""

import numpy as np
import numpy.typing as npt

from rerank.ragged import IntArray


def plan_batches(lengths: npt.NDArray[np.integer], *, batch_tokens: int) -> list[npt.NDArray[np.intp]]:
    """Indices of the pairs of each batch; rows times longest row is at most `batch_tokens`, or the batch is one pair.

    Equal lengths keep their order, so the same pairs always give the same batches.
    """
    order = np.argsort(-lengths, kind="stable")
    batches = []
    start = 0
    while start < len(order):
        rows = max(1, batch_tokens // max(1, int(lengths[order[start]])))
        batches.append(order[start : start + rows])
        start += rows
    return batches


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
