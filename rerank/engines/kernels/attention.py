"""Attention over a packed sequence in bfloat16: `attention.c`."""

import ctypes
import math
from typing import Any

import numpy as np
import torch

from rerank.arrays import Offsets
from rerank.engines.kernels.library import check_memory, has_amx, library

_ARRAYS = ("query", "key", "value", "output", "starts", "attended", "prefixes")
_NUMBERS = ("rows", "heads", "key_heads", "width")
_STRIDES = ("query_token", "query_head", "key_token", "key_head", "value_token", "value_head")


class _Attention(ctypes.Structure):
    """The struct `Attention` in `attention.c`."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in _ARRAYS),
        *((name, ctypes.c_int64) for name in (*_NUMBERS, *_STRIDES, "before", "behind")),
        ("scale", ctypes.c_float),
        ("first", ctypes.c_int32),
    )


class PackedRows:
    """The rows of a packed sequence, as the kernel reads them."""

    def __init__(self, lengths: Offsets, attended: Offsets | None, prefix_of: Offsets | None) -> None:
        """Take the tokens of each row [rows], and the parameters of `Packing`."""
        starts = np.concatenate([[0], np.cumsum(lengths)])
        attended = lengths if attended is None else attended
        prefixes = np.full(len(lengths), -1) if prefix_of is None else prefix_of
        self._arrays = tuple(np.ascontiguousarray(array, np.int64) for array in (starts, attended, prefixes))
        self._count = len(lengths)

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
        """Return attention, see `rerank.engines.forward.attention.attend`. Raises MemoryError if memory runs out."""
        query, key, value = (_with_dense_heads(states) for states in (query, key, value))
        output = query.new_empty(query.shape)
        strides: list[Any] = [stride for states in (query, key, value) for stride in states.stride()[:2]]
        call = _Attention(
            *(states.data_ptr() for states in (query, key, value, output)),
            *(array.ctypes.data for array in self._arrays),
            *(self._count, query.shape[1], key.shape[1], query.shape[2]),
            *strides,
            *window,
            scale * math.log2(math.e),
            first,
        )
        check_memory(library().rerank_attention(ctypes.byref(call), torch.get_num_threads(), has_amx()))
        return output


def _with_dense_heads(states: torch.Tensor) -> torch.Tensor:
    """Return states [tokens, heads, width] with the numbers of a head side by side."""
    return states if states.stride(2) == 1 else states.contiguous()
