"""The compiled kernels: whether they are there, and which instructions they may use."""

import ctypes
import logging
import os
from functools import cache
from importlib.util import find_spec

import torch

_LIBRARY = "rerank_kernels"  # of the installation, which may be older than this file in the folder of a job
_SWITCH = "RERANK_KERNELS"
_VERSION = 1  # as in `version.c`

_log = logging.getLogger(__name__)


@cache
def library() -> ctypes.CDLL:
    """Return the compiled kernels. Raises OSError if they cannot be used.

    They need an OpenMP library, and take that of torch, which is loaded already.
    """
    if os.environ.get(_SWITCH) == "0":
        raise OSError(f"{_SWITCH} is 0")
    spec = find_spec(_LIBRARY)
    if spec is None or spec.origin is None:
        raise OSError(f"{_LIBRARY} is not installed, which installing rerank compiles if there is a C compiler")
    kernels = ctypes.CDLL(spec.origin)
    version = kernels.rerank_kernels_version()
    if version != _VERSION:
        raise OSError(f"{_LIBRARY} has version {version}, and this rerank needs {_VERSION}: install it again")
    return kernels


def why_no_kernels() -> str | None:
    """Return why the kernels cannot be used here, as the end of a sentence; None if they can."""
    if not torch.cpu._is_vnni_supported():
        return "because this processor has no AVX-512 VNNI"
    try:
        library()
    except OSError as problem:
        return f"because {problem}"
    return None


@cache  # so that missing kernels are said once
def has_bf16_kernels(dtype: torch.dtype) -> bool:
    """Return whether the kernels for this precision can be used; log a warning if nothing but they are missing."""
    if dtype != torch.bfloat16 or not torch.cpu._is_avx512_bf16_supported():
        return False
    if reason := why_no_kernels():
        _log.warning("bfloat16 is slower than it could be, %s", reason)
    return reason is None


@cache
def has_amx() -> bool:
    """Return whether this process may use AMX, and ask the system for it."""
    return bool(torch.cpu._is_amx_tile_supported()) and bool(torch.cpu._init_amx())


def check_memory(was_enough: int) -> None:
    """Raise MemoryError if a kernel returned that it got no memory."""
    if not was_enough:
        raise MemoryError(f"a kernel got no memory for {torch.get_num_threads()} threads")
