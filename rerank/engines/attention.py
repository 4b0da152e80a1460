"""Attention over a packed sequence: rows of tokens one behind the other, each of which sees itself alone."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, cast

import numpy as np
import torch
from torch.nn.attention.varlen import varlen_attn
from torch.nn.functional import scaled_dot_product_attention

from rerank.engines.device import to_device
from rerank.ragged import Offsets

PACKED = "packed"  # what transformers knows `packed_attention` by
_EVERYTHING = (-1, -1)


@dataclass(frozen=True, slots=True)
class Packing:
    """Where the rows of a packed sequence lie; rows of equal length are neighbours, and none is empty."""

    lengths: Offsets  # [rows], on the host
    starts: torch.Tensor  # int32 [rows + 1], on the device

    @classmethod
    def of(cls, offsets: Offsets, device: torch.device) -> "Packing":
        """The packing of rows that begin, and end, at these places."""
        return cls(np.diff(offsets), to_device(offsets.astype(np.int32), device))

    @property
    def longest(self) -> int:
        """Tokens of the longest row."""
        return int(self.lengths.max())

    def first_tokens(self) -> "Packing":
        """The packing of the rows' first tokens alone."""
        starts = torch.arange(len(self.lengths) + 1, dtype=torch.int32, device=self.starts.device)
        return Packing(np.ones_like(self.lengths), starts)


def packed_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: None,
    *,
    packing: Packing,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """What transformers' layers call: (1, heads, tokens, width) each, to (1, tokens, heads, width) and no weights.

    No mask comes with it, as transformers builds none for a function that its AttentionMaskInterface does not know.
    """
    reach = -1 if sliding_window is None else sliding_window - 1  # a window counts the token itself
    mixed = attend(
        *(states[0].transpose(0, 1) for states in (query, key, value)),
        queries=packing,
        keys=packing,
        scale=scaling,
        window=(reach, 0 if module.is_causal else reach),
    )
    return mixed[None], None


def attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *,
    queries: Packing,
    keys: Packing,
    scale: float | None = None,
    window: tuple[int, int] = _EVERYTHING,
) -> torch.Tensor:
    """Queries [query tokens, heads, width], keys and values [tokens, heads or fewer, width] to what the queries get.

    Row i of `queries` sees row i of `keys`: as many tokens before and behind its own place as `window` says, -1 for
    all. Queries have the lengths of the keys, or one token each and no window. One kernel on CUDA, in half precision
    only; elsewhere one call for all rows of a length.
    """
    grouped = query.shape[1] != key.shape[1]
    if query.is_cuda:
        spans = (queries.starts, keys.starts, queries.longest, keys.longest)
        attended = varlen_attn(query, key, value, *spans, scale=scale, window_size=window, enable_gqa=grouped)
        return cast(torch.Tensor, attended)
    bounds = [0, *(np.flatnonzero(np.diff(keys.lengths)) + 1).tolist(), len(keys.lengths)]
    runs = [slice(first, last) for first, last in pairwise(bounds)]
    split = [_split(states, packing, runs) for states, packing in ((query, queries), (key, keys), (value, keys))]
    outputs = [
        scaled_dot_product_attention(q, k, v, _window_mask(k.shape[2], window), scale=scale, enable_gqa=grouped)
        for q, k, v in zip(*split, strict=True)
    ]
    return torch.cat([output.transpose(1, 2).flatten(0, 1) for output in outputs])


def _split(states: torch.Tensor, packing: Packing, runs: list[slice]) -> list[torch.Tensor]:
    """Views of (rows, heads, tokens, width), one for each run of rows of equal length."""
    parts = torch.split(states, [int(packing.lengths[run].sum()) for run in runs])
    return [
        part.reshape(run.stop - run.start, -1, *part.shape[1:]).transpose(1, 2)
        for part, run in zip(parts, runs, strict=True)
    ]


def _window_mask(length: int, window: tuple[int, int]) -> torch.Tensor | None:
    """True where a token (row) sees another (column)."""
    if window == _EVERYTHING:
        return None
    before, behind = (length if reach < 0 else reach for reach in window)
    places = torch.arange(length)
    back = places[:, None] - places
    return (back <= before) & (back >= -behind)
