"""Attention over a packed sequence in bfloat16: `attention.c`."""

import ctypes
import math
from typing import Any

import numpy as np
import torch

from rerank.arrays import Offsets
from rerank.engines.kernels.library import has_amx, library

_ARRAYS = ("query", "key", "value", "output", "starts", "attended", "prefixes")
_NUMBERS = ("rows", "heads", "key_heads", "width")
_STRIDES = ("query_token", "query_head", "key_token", "key_head", "value_token", "value_head")


class _Attention(ctypes.Structure):
    """The struct `Attention` in `attention.c`."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in _ARRAYS),
        *((name, ctypes.c_int64) for name in (*_NUMBERS, *_STRIDES, "before", "after")),
        ("scale", ctypes.c_float),
        ("first", ctypes.c_int32),
    )


class PackedRows:
    """The rows of a packed sequence, as the kernel reads them."""

    def __init__(self, lengths: Offsets, attended: Offsets | None, prefix_of: Offsets | None) -> None:
        """Take the tokens of each row [rows]; `attended` and `prefix_of` [rows] as in `Packing`."""
        starts = np.concatenate([[0], np.cumsum(lengths)])
        attended = lengths if attended is None else attended
        prefixes = np.full(len(lengths), -1) if prefix_of is None else prefix_of
        self._arrays = tuple(np.ascontiguousarray(array, np.int64) for array in (starts, attended, prefixes))
        self._count, self._tokens = len(lengths), int(starts[-1])

    def attend(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        *,
        scale: float,
        window: tuple[int, int],
        first: bool,
    ) -> torch.Tensor:
        """Return attention of bfloat16 queries [tokens, heads, width] to keys and values [tokens, key heads, width].

        If `first`, the queries are [rows, heads, width]. See `attend` in `rerank.engines.forward.attention`. Raises
        ValueError for other states, and MemoryError if memory runs out.
        """
        (heads, width), key_heads = query.shape[1:], key.shape[1]
        if heads % key_heads:
            raise ValueError(f"{heads} heads cannot share {key_heads} heads of keys")
        _check(query, (self._count if first else self._tokens, heads, width))
        _check(key, (self._tokens, key_heads, width))
        _check(value, (self._tokens, key_heads, width))
        query, key, value = (_with_dense_heads(states) for states in (query, key, value))
        output = query.new_empty(query.shape)
        strides: list[Any] = [stride for states in (query, key, value) for stride in states.stride()[:2]]
        call = _Attention(
            *(states.data_ptr() for states in (query, key, value, output)),
            *(array.ctypes.data for array in self._arrays),
            *(self._count, heads, key_heads, width),
            *strides,
            *window,
            scale * math.log2(math.e),
            first,
        )
        library().rerank_attention(ctypes.byref(call), torch.get_num_threads(), has_amx())
        return output


def _check(states: torch.Tensor, shape: tuple[int, ...]) -> None:
    if states.shape != shape or states.dtype != torch.bfloat16 or not states.is_cpu:
        raise ValueError(f"expected bfloat16 states {list(shape)} on a CPU, got {list(states.shape)} in {states.dtype}")


def _with_dense_heads(states: torch.Tensor) -> torch.Tensor:
    """Return states [tokens, heads, width] with the numbers of a head side by side."""
    return states if states.stride(2) == 1 else states.contiguous()
