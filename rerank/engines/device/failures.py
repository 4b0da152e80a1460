"""After a batch has failed: whether memory ran out, and whether the device still works."""

import torch

from rerank.errors import EngineLostError


def is_out_of_memory(problem: Exception) -> bool:
    """Return whether smaller batches may help."""
    if isinstance(problem, torch.OutOfMemoryError | MemoryError):
        return True
    # On a CPU torch has no type for it, only this message of its allocator.
    return isinstance(problem, RuntimeError) and "DefaultCPUAllocator" in str(problem)


def check_device(device: torch.device) -> None:
    """Raise EngineLostError if the device fails at everything: after some faults CUDA never recovers."""
    if device.type != "cuda":
        return
    try:
        torch.zeros(1, device=device).cpu()
    except torch.OutOfMemoryError:
        return
    except RuntimeError as problem:
        raise EngineLostError(f"{device} no longer responds: {problem}") from problem


def free_memory(device: torch.device) -> None:
    """Return unused memory to the device, because smaller batches need blocks of other sizes."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
