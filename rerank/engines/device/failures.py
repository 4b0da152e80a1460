"""What can be done after a batch failed: whether memory was short, and whether the device still answers."""

import torch

from rerank.errors import EngineLostError


def is_out_of_memory(problem: Exception) -> bool:
    """Whether smaller batches may help."""
    if isinstance(problem, torch.OutOfMemoryError | MemoryError):
        return True
    # On a CPU torch has no type for it, only this message of its allocator.
    return isinstance(problem, RuntimeError) and "DefaultCPUAllocator" in str(problem)


def check_device(device: torch.device) -> None:
    """Raise EngineLostError where the device fails whatever it is asked: after some faults CUDA never recovers."""
    if device.type != "cuda":
        return
    try:
        torch.zeros(1, device=device).cpu()
    except torch.OutOfMemoryError:
        return
    except RuntimeError as problem:
        raise EngineLostError(f"{device} answers no more: {problem}") from problem


def free_memory(device: torch.device) -> None:
    """Give unused blocks back, for smaller ones do not fit into the gaps between them."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
