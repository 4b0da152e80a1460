"""The compiled kernels: whether they are there, and which instructions they may use."""

import ctypes
import logging
import os
from functools import cache
from importlib.util import find_spec
from typing import Any

import torch

from rerank.engines.device.cores import cpu_flags

# Part of the installation. The Python files of a job's folder may be newer, so the versions are compared.
_LIBRARY = "rerank_kernels"
_VERSION = 1  # as in `version.c`
_SWITCH = "RERANK_KERNELS"
_FUNCTIONS = ("rerank_attention", "rerank_int8_linear", "rerank_norm_of_sum")
_AMX = frozenset({"amx_tile", "amx_int8", "amx_bf16"})

_log = logging.getLogger(__name__)


@cache
def library() -> ctypes.CDLL:
    """Return the compiled kernels, whose functions raise MemoryError. Raises OSError if they cannot be used.

    They need an OpenMP library, and take that of torch, which is loaded already.
    """
    if is_switched_off():
        raise OSError(f"{_SWITCH} is 0")
    spec = find_spec(_LIBRARY)
    if spec is None or spec.origin is None:
        raise OSError(f"{_LIBRARY} is not installed, which installing rerank compiles if there is a C compiler")
    kernels = ctypes.CDLL(spec.origin)
    version = kernels.rerank_kernels_version()
    if version != _VERSION:
        raise OSError(f"{_LIBRARY} has version {version}, and this rerank needs {_VERSION}: install it again")
    for name in _FUNCTIONS:
        getattr(kernels, name).errcheck = _check_memory
    return kernels


def is_switched_off() -> bool:
    """Return whether the environment switches the kernels off."""
    return os.environ.get(_SWITCH) == "0"


def why_no_kernels() -> str | None:
    """Return the reason why the kernels cannot be used here, as a clause; None if they can."""
    if not torch.cpu._is_vnni_supported():
        return "this processor has no AVX-512 VNNI"
    try:
        library()
    except OSError as problem:
        return str(problem)
    return None


@cache  # so that missing kernels are said once
def has_bf16_kernels(dtype: torch.dtype) -> bool:
    """Return whether there are kernels for this precision; log a warning if the processor could run them."""
    if dtype != torch.bfloat16 or not torch.cpu._is_avx512_bf16_supported():
        return False
    reason = why_no_kernels()
    if reason and not is_switched_off():
        _log.warning("bfloat16 is slower than it could be, because %s", reason)
    return reason is None


@cache
def has_amx() -> bool:
    """Ask the system for AMX, and return whether this process may use it."""
    return cpu_flags() >= _AMX and bool(torch.cpu._init_amx())


def _check_memory(was_enough: int, function: Any, arguments: tuple[Any, ...]) -> None:
    if not was_enough:
        raise MemoryError(f"{function.__name__} got no memory for {torch.get_num_threads()} threads")
