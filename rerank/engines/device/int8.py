"""The kernel of linear layers in int8, `_int8.c`: compiled when rerank is installed, if there is a C compiler."""

import ctypes
from functools import cache
from importlib.util import find_spec

import torch

_LIBRARY = "rerank.engines.device._int8"
_DTYPES = {torch.float32: 0, torch.bfloat16: 1}
_GELUS = {"none": 0, "gelu": 1, "gelu_tanh": 2}
BLOCK = 64  # columns that are multiplied together, and bytes of a row; the weights are padded to multiples of it
QUAD = 4  # bytes of a row that one instruction multiplies and adds up


class Layer(ctypes.Structure):
    """The struct of that name in `_int8.c`. It holds addresses: its tensors must live as long as it does."""

    _fields_ = (
        ("weight", ctypes.c_void_p),
        ("scales", ctypes.c_void_p),
        ("sums", ctypes.c_void_p),
        ("bias", ctypes.c_void_p),
        ("width", ctypes.c_int64),
        ("out", ctypes.c_int64),
        ("gelu", ctypes.c_int32),
        ("dtype", ctypes.c_int32),
    )


def why_no_int8() -> str | None:
    """Return why there is no int8 here, as the end of a sentence; None if there is."""
    if not torch.cpu._is_vnni_supported():
        return "because this processor has no AVX-512 VNNI"
    try:
        _library()
    except OSError as problem:
        return f"because {problem}"
    return None


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
    """Return a layer of this shape [out, width]; `_int8.c` says how the tensors are padded and ordered.

    `then`: `none`, `gelu`, or `gelu_tanh`. `dtype`: of states and results, float32 or bfloat16.
    """
    addresses = (tensor.data_ptr() for tensor in (weight, scales, sums, bias))
    return Layer(*addresses, width=shape[1], out=shape[0], gelu=_GELUS[then], dtype=_DTYPES[dtype])


def compute_layer(layer: Layer, states: torch.Tensor) -> torch.Tensor:
    """Return results [..., out] for states [..., width], in their precision. Raises MemoryError if memory runs out."""
    states = states.contiguous()
    results = states.new_empty(*states.shape[:-1], layer.out)
    count, threads = states.numel() // layer.width, torch.get_num_threads()
    if not _library().rerank_int8_linear(layer, states.data_ptr(), count, results.data_ptr(), threads, _has_amx()):
        raise MemoryError(f"a layer in int8 got no memory for the rows of {threads} threads")
    return results


@cache
def _library() -> ctypes.CDLL:
    """Return the compiled library, which uses the OpenMP library that torch has loaded. Raises OSError if it cannot."""
    spec = find_spec(_LIBRARY)
    if spec is None or spec.origin is None:
        raise OSError("rerank was installed without a C compiler")
    library = ctypes.CDLL(spec.origin)
    address, number = ctypes.c_void_p, ctypes.c_int32
    library.rerank_int8_linear.argtypes = (ctypes.POINTER(Layer), address, ctypes.c_int64, address, number, number)
    return library


@cache
def _has_amx() -> bool:
    """Return whether this process may use AMX, and ask the system for it."""
    return bool(torch.cpu._is_amx_tile_supported()) and bool(torch.cpu._init_amx())
