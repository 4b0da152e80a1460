"""Attention over a packed sequence: concatenated rows of tokens, where each row attends only to itself."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, cached_property
from inspect import signature
from typing import Any, cast

import numpy as np
import torch

from rerank.arrays import Offsets, offsets_of, spans
from rerank.engines.device.choices import to_device
from rerank.engines.forward.tiled_attention import EVERYTHING, Bias, PairBias, Tiles, Window
from rerank.engines.kernels.attention import PackedRows
from rerank.engines.kernels.library import has_bf16_kernels

PACKED = "packed"  # the name under which transformers knows `packed_attention`


@dataclass(frozen=True)
class Packing:
    """The positions of the rows of a packed sequence; no row is empty.

    Only the first `attended` tokens [rows] of a row are attended to; None: all. A row also attends to all tokens of the
    row `prefix_of` [rows], which stands before it; -1: none.
    """

    lengths: Offsets  # [rows], on the host
    starts: torch.Tensor  # int32 [rows + 1], on the device
    attended: Offsets | None = None
    prefix_of: Offsets | None = None
    _tiles: dict[tuple[int, int], Tiles] = field(default_factory=dict, init=False, repr=False, compare=False)

    @classmethod
    def of(
        cls,
        offsets: Offsets,
        device: torch.device,
        attended: Offsets | None = None,
        prefix_of: Offsets | None = None,
    ) -> "Packing":
        """Return the packing of rows with these offsets [rows + 1]."""
        lengths = np.diff(offsets)
        some = attended is not None and bool((attended < lengths).any())
        return cls(lengths, to_device(offsets.astype(np.int32), device), attended if some else None, prefix_of)

    @property
    def longest(self) -> int:
        """Return the tokens of the longest row."""
        return int(self.lengths.max())

    def first_starts(self) -> torch.Tensor:
        """Return the offsets [rows + 1] of a sequence that has only the first token of each row."""
        return torch.arange(len(self.lengths) + 1, dtype=torch.int32, device=self.starts.device)

    def keys(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the places of the tokens that are attended to, and the offsets [rows + 1] of these alone."""
        counts = self.lengths if self.attended is None else self.attended
        places, offsets = spans(offsets_of(self.lengths)[:-1], counts), offsets_of(counts)
        return to_device(places, self.starts.device), to_device(offsets.astype(np.int32), self.starts.device)

    @cached_property
    def rows(self) -> PackedRows:
        """Return the rows for the kernel in C."""
        return PackedRows(self.lengths, self.attended, self.prefix_of)

    def tiles(self, heads: int, key_heads: int) -> Tiles:
        """Return the layout of the tokens for `Tiles`, which is cached because it is the same for all layers."""
        if (heads, key_heads) not in self._tiles:
            self._tiles[heads, key_heads] = Tiles(self.lengths, heads, key_heads, self.attended, self.prefix_of)
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
    softcap: float | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attention function for transformers' layers: takes (1, heads, tokens, width) each, returns (1, tokens, heads,
    width) and no weights.

    There is no mask, because transformers builds none for functions that its AttentionMaskInterface does not know.
    """
    reach = -1 if sliding_window is None else sliding_window - 1  # a window counts the token itself
    window = (reach, 0 if module.is_causal else reach)
    states = (each[0].transpose(0, 1) for each in (query, key, value))
    return attend(*states, packing=packing, scale=scaling, window=window, softcap=softcap)[None], None


def attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *,
    packing: Packing,
    scale: float | None = None,
    window: Window = EVERYTHING,
    first: bool = False,
    softcap: float | None = None,
    bias: Bias | None = None,
    pair_bias: PairBias | None = None,
) -> torch.Tensor:
    """Return attention of queries [tokens, heads, width] to keys and values [tokens, key heads, width] of their row.

    If `first`, the queries are those of each row's first token only, [rows, heads, width]. `window` limits how many
    tokens before and after itself a token sees, -1 for all; a `first` token sees all. `softcap` bounds the scores,
    `bias` adds to them by position, and `pair_bias` by query and key. Uses our kernel or `Tiles` on a CPU, otherwise
    CUDA's kernel, which needs half precision. On a CPU only `Tiles` can apply these three, and elsewhere nothing.
    """
    changes_scores = softcap is not None or bias is not None or pair_bias is not None
    if not query.is_cuda:
        window = EVERYTHING if first else window
        if query.is_cpu and not changes_scores and has_bf16_kernels(query.dtype):
            scale = query.shape[-1] ** -0.5 if scale is None else scale
            return packing.rows.attend(query, key, value, scale=scale, window=window, first=first)
        tiles = packing.tiles(query.shape[1], key.shape[1])
        biases: dict[str, Any] = {"bias": bias, "pair_bias": pair_bias}
        return tiles.attend(query, key, value, scale=scale, window=window, first=first, softcap=softcap, **biases)
    if changes_scores or packing.prefix_of is not None:
        raise ValueError("torch's kernel for packed rows on CUDA cannot change the scores of attention, or share rows")
    return attend_by_kernel(query, key, value, packing=packing, scale=scale, window=window, first=first)


def attend_by_kernel(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *,
    packing: Packing,
    scale: float | None = None,
    window: Window = EVERYTHING,
    first: bool = False,
) -> torch.Tensor:
    """Return attention by torch's kernel for CUDA, see `attend`."""
    heads, key_heads = query.shape[1], key.shape[1]
    starts, longest = (packing.first_starts(), 1) if first else (packing.starts, packing.longest)
    key_starts = packing.starts
    if packing.attended is not None:
        places, key_starts = packing.keys()
        key, value = (states.index_select(0, places) for states in (key, value))
    options: dict[str, Any] = {"scale": scale, "window_size": window}
    varlen_attn, shares_keys = _cuda_kernel()
    if shares_keys:
        options["enable_gqa"] = heads != key_heads
    elif heads != key_heads:
        key, value = (states.repeat_interleave(heads // key_heads, dim=1) for states in (key, value))
    attended = varlen_attn(query, key, value, starts, key_starts, longest, packing.longest, **options)
    return cast(torch.Tensor, attended)


@cache
def _cuda_kernel() -> tuple[Callable[..., Any], bool]:
    """Return torch's function for CUDA, and whether several query heads may share a key head (from torch 2.12).

    It is imported here because that takes 1.7 seconds, which only CUDA needs.
    """
    from torch.nn.attention.varlen import varlen_attn

    return varlen_attn, "enable_gqa" in signature(varlen_attn).parameters
