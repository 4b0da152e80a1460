"""Attention over a packed sequence: rows of tokens one behind the other, each of which sees itself alone."""

from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import torch
from torch.nn.attention.varlen import varlen_attn

from rerank.arrays import Offsets
from rerank.engines.device.choices import to_device
from rerank.engines.forward.tiled_attention import EVERYTHING, Tiles, Window

PACKED = "packed"  # what transformers knows `packed_attention` by


@dataclass(frozen=True, slots=True)
class Packing:
    """Where the rows of a packed sequence lie, none of them empty."""

    lengths: Offsets  # [rows], on the host
    starts: torch.Tensor  # int32 [rows + 1], on the device
    _tiles: dict[tuple[int, int], Tiles] = field(default_factory=dict, init=False, repr=False, compare=False)

    @classmethod
    def of(cls, offsets: Offsets, device: torch.device) -> "Packing":
        """The packing of rows that begin, and end, at these places."""
        return cls(np.diff(offsets), to_device(offsets.astype(np.int32), device))

    @property
    def longest(self) -> int:
        """Tokens of the longest row."""
        return int(self.lengths.max())

    def first_starts(self) -> torch.Tensor:
        """Where the rows begin, and end, when each is its first token alone."""
        return torch.arange(len(self.lengths) + 1, dtype=torch.int32, device=self.starts.device)

    def tiles(self, heads: int, key_heads: int) -> Tiles:
        """Where a CPU's kernel wants the tokens; every layer has the same."""
        if (heads, key_heads) not in self._tiles:
            self._tiles[heads, key_heads] = Tiles(self.lengths, heads, key_heads)
        return self._tiles[heads, key_heads]


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
    window = (reach, 0 if module.is_causal else reach)
    states = (each[0].transpose(0, 1) for each in (query, key, value))
    return attend(*states, packing=packing, scale=scaling, window=window)[None], None


def attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *,
    packing: Packing,
    scale: float | None = None,
    window: Window = EVERYTHING,
    first: bool = False,
) -> torch.Tensor:
    """Queries [tokens, heads, width], or of the rows' `first` tokens [rows, heads, width], to what they get of the keys
    and values [tokens, heads or fewer, width] of their row.

    A token sees as many before and behind its own place as `window` says, -1 for all; a `first` token sees all. On a
    CPU `Tiles`, elsewhere CUDA's kernel, in half precision only.
    """
    heads, key_heads = query.shape[1], key.shape[1]
    if not query.is_cuda:
        tiles = packing.tiles(heads, key_heads)
        return tiles.attend(query, key, value, scale=scale, window=window, first=first)
    starts, longest = (packing.first_starts(), 1) if first else (packing.starts, packing.longest)
    attended = varlen_attn(
        *(query, key, value, starts, packing.starts, longest, packing.longest),
        scale=scale,
        window_size=window,
        enable_gqa=heads != key_heads,
    )
    return cast(torch.Tensor, attended)
