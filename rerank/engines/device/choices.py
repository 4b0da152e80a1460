"""Defaults for a device: which one, in which precision, with how large batches."""

import logging
from functools import cache
from typing import Any

import numpy.typing as npt
import torch

from rerank.engines.kernels.library import why_no_kernels
from rerank.errors import ConfigError

INT8 = "int8"
FLOATS = "float32, bfloat16, float16"

# Tokens per forward, padding included. CPU: measured on two cores of Zen 5 with MiniLM's shape, 3 % (float32) and 5 %
# (bf16) faster than 2,048, where 16,384 are 10 % slower in float32. GPU: enough to fill the chip.
_BATCH_TOKENS = {"cpu": 4_096, "mps": 16_384, "cuda": 131_072}
# Padding that one more batch has to save on a CPU, as the work of a layer: tokens times the squared width of their
# states. On a core of Zen 5 a batch has an overhead of about 2.5 ms, as much as 30 tokens of width 384 take in float32
# and 55 in bf16; it should save twice as much.
_CPU_BATCH_WORK = {torch.float32: 64 * 384**2, torch.bfloat16: 128 * 384**2}

_log = logging.getLogger(__name__)


def pick_device(name: str) -> torch.device:
    """Return the device of this name; `auto` prefers a GPU. Raises ConfigError if it does not exist."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "mps" if _has_mps() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as problem:
        raise ConfigError(f"device: unknown name {name!r}, accepted are auto, cpu, cuda, cuda:N, mps") from problem
    missing = (device.type == "cuda" and not torch.cuda.is_available()) or (device.type == "mps" and not _has_mps())
    if missing:
        raise ConfigError(f"device: {name!r} is not available on this machine")
    return device


def pick_precision(name: str, device: torch.device) -> str:
    """Return the precision that computes if this one is asked for.

    `auto` is bf16 if the hardware multiplies it faster than float32. `int8` is `int8-bfloat16` or `int8-float32`, after
    what computes between its products; a processor without kernels for int8 takes what stands behind, and a warning is
    logged. Raises ConfigError for int8 on a GPU, and for `int8-…` on such a processor.
    """
    if not name.startswith(INT8):
        return str(pick_dtype(name, device)).removeprefix("torch.")
    if device.type != "cpu":
        raise ConfigError(f"dtype: {name} runs on a CPU only, got the device {device}; accepted are auto, {FLOATS}")
    reason, between = why_no_kernels(), "bfloat16" if _cpu_has_bf16() else "float32"
    if name == INT8:
        return _without_int8(between, reason) if reason else f"{INT8}-{between}"
    if reason:
        raise ConfigError(f"dtype: there is no {name} here, because {reason}; accepted are auto, int8, {FLOATS}")
    return name


def pick_dtype(name: str, device: torch.device) -> torch.dtype:
    """Return the data type of the states in a precision, see `pick_precision`."""
    if name.startswith(INT8):
        name = pick_precision(name, device).removeprefix(f"{INT8}-")
    if name != "auto":
        dtype: torch.dtype = getattr(torch, name)
        return dtype
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return torch.bfloat16 if device.type == "cpu" and _cpu_has_bf16() else torch.float32


def pick_batch_tokens(device: torch.device) -> int:
    """Return the default number of tokens per batch."""
    return _BATCH_TOKENS.get(device.type, _BATCH_TOKENS["cpu"])


def pick_batch_cost(device: torch.device, dtype: torch.dtype, width: int | None) -> int | None:
    """Return the tokens of padding that one more batch must save to be worthwhile; None if that was never measured."""
    work = _CPU_BATCH_WORK.get(dtype) if device.type == "cpu" else None
    return work // width**2 if work and width else None


def to_device(array: npt.NDArray[Any], device: torch.device) -> torch.Tensor:
    """Return the array on the device; CUDA copies it asynchronously from pinned memory."""
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


@cache  # so that it is said once
def _without_int8(between: str, reason: str) -> str:
    _log.warning("dtype: int8 becomes %s here, because %s", between, reason)
    return between


def _cpu_has_bf16() -> bool:
    # Without these instructions oneDNN emulates bf16: measured ten times slower than float32 on AVX2.
    return bool(torch.cpu._is_amx_tile_supported()) or bool(torch.cpu._is_avx512_bf16_supported())


def _has_mps() -> bool:
    return bool(torch.backends.mps.is_available())
