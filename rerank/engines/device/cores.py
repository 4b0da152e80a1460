"""The cores that this process may use, what they can do, and the priority of its threads."""

import os
import platform
import sys
from pathlib import Path
from threading import get_native_id


def available_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu_flags() -> frozenset[str]:
    """Return the features of an x86 processor as Linux lists them; empty on other machines."""
    if platform.machine() != "x86_64":
        return frozenset()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return frozenset()
    return frozenset(next((line for line in lines if line.startswith("flags")), "").split())


def lower_priority(niceness: int) -> None:
    """Add `niceness` to that of this thread and of threads that it starts, so that other threads run before them.

    Linux limits it to 19. On other systems threads have no niceness of their own, and nothing changes.
    """
    if sys.platform == "linux":
        thread = get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + niceness)
