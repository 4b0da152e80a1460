"""The precision that an engine would pick, without importing torch where the operating system tells it."""

import sys
from pathlib import Path

from rerank.config import ScorerConfig
from rerank.engines.device.cores import cpu_flags

_NAMES = frozenset({"float32", "bfloat16", "float16"})
_GPUS = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/dxg", "/dev/kfd")  # CUDA, CUDA in a container, on Windows, ROCm
_BF16 = frozenset({"avx512_bf16", "amx_tile"})  # what torch asks the processor for


def pick_dtype_name(config: ScorerConfig) -> str:
    """Return the name of the precision that these settings mean on this machine, such as "bfloat16".

    Raises ConfigError if there is no such device.
    """
    if (name := dtype_name_of_system(config)) is not None:
        return name
    from rerank.engines.device.choices import pick_device, pick_precision

    return pick_precision(config.dtype, pick_device(config.device))


def dtype_name_of_system(config: ScorerConfig) -> str | None:
    """Return the name of that precision if the operating system tells it; None if torch must be asked."""
    if config.device == "cpu" or (config.device == "auto" and _has_no_gpu()):
        if config.dtype in _NAMES:
            return config.dtype
        flags = cpu_flags()
        if config.dtype == "auto" and flags:
            return "bfloat16" if flags & _BF16 else "float32"
    return None


def _has_no_gpu() -> bool:
    """Return whether this is a Linux machine without the driver of a GPU."""
    return sys.platform == "linux" and not any(Path(device).exists() for device in _GPUS)
