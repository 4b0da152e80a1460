"""Linear layers in int8: `linear.c`."""

import ctypes

import torch

from rerank.engines.kernels.library import has_amx, library

_DTYPES = {torch.float32: 0, torch.bfloat16: 1}  # as the enums of `linear.c`
_GELUS = {"none": 0, "gelu": 1, "gelu_tanh": 2}
BLOCK = 64  # the kernel's BLOCK and TILE_BYTES: the weights are padded to multiples of it in both directions
QUAD = 4  # bytes of a row that one instruction multiplies and adds up


class Layer(ctypes.Structure):
    """The struct of that name in `linear.c`. It holds addresses: its tensors must live as long as it does."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("weight", "scales", "sums", "bias")),
        *((name, ctypes.c_int64) for name in ("width", "out")),
        *((name, ctypes.c_int32) for name in ("gelu", "dtype")),
    )


def layer_of(
    weight: torch.Tensor,
    scales: torch.Tensor,
    sums: torch.Tensor,
    bias: torch.Tensor,
    *,
    shape: torch.Size,
    then: str,
    dtype: torch.dtype,
) -> Layer:
    """Return a layer of this shape [out, width]; `linear.c` says how the tensors are padded and ordered.

    `then`: `none`, `gelu`, or `gelu_tanh`. `dtype`: of states and results, float32 or bfloat16.
    """
    addresses = (tensor.data_ptr() for tensor in (weight, scales, sums, bias))
    return Layer(*addresses, width=shape[1], out=shape[0], gelu=_GELUS[then], dtype=_DTYPES[dtype])


def compute_layer(layer: Layer, states: torch.Tensor) -> torch.Tensor:
    """Return results [..., out] for states [..., width] in the layer's precision.

    Raises ValueError for other states, and MemoryError if memory runs out.
    """
    if states.shape[-1] != layer.width or _DTYPES.get(states.dtype) != layer.dtype or not states.is_cpu:
        raise ValueError(f"a layer in int8 got states of {states.shape[-1]} numbers in {states.dtype}")
    states = states.contiguous()
    results = states.new_empty(*states.shape[:-1], layer.out)
    library().rerank_int8_linear(
        ctypes.byref(layer),
        ctypes.c_void_p(states.data_ptr()),
        ctypes.c_int64(states.numel() // layer.width),
        ctypes.c_void_p(results.data_ptr()),
        torch.get_num_threads(),
        has_amx(),
    )
    return results
