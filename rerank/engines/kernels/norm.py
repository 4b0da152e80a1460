"""The layer norm of a sum in bfloat16: `norm.c`."""

import ctypes

import torch
from torch import nn

from rerank.engines.kernels.library import library


class _Norm(ctypes.Structure):
    """The struct `Norm` in `norm.c`."""

    _fields_ = (
        ("gain", ctypes.c_void_p),
        ("shift", ctypes.c_void_p),
        ("width", ctypes.c_int64),
        ("epsilon", ctypes.c_float),
    )


class NormOfSum:
    """The layer norm of a sum of two states."""

    def __init__(self, norm: nn.LayerNorm) -> None:
        """Take over the weights of a layer norm over the last dimension, which has both of them."""
        self._weights = norm.weight.detach().float().contiguous(), norm.bias.detach().float().contiguous()
        self._norm = _Norm(*(weight.data_ptr() for weight in self._weights), len(norm.weight), norm.eps)

    def __call__(self, states: torch.Tensor, added: torch.Tensor) -> torch.Tensor:
        """Return the norm [..., width] of states + added, both bfloat16 [..., width].

        Raises ValueError for other states, and MemoryError if memory runs out.
        """
        for each in (states, added):
            if each.shape != (*states.shape[:-1], self._norm.width) or each.dtype != torch.bfloat16 or not each.is_cpu:
                raise ValueError(f"a norm of {self._norm.width} numbers got {list(each.shape)} in {each.dtype}")
        states, added = states.contiguous(), added.contiguous()
        results = torch.empty_like(states)
        library().rerank_norm_of_sum(
            ctypes.byref(self._norm),
            ctypes.c_void_p(states.data_ptr()),
            ctypes.c_void_p(added.data_ptr()),
            ctypes.c_int64(states.numel() // self._norm.width),
            ctypes.c_void_p(results.data_ptr()),
            torch.get_num_threads(),
        )
        return results
