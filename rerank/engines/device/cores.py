"""How many cores there are to share out, and who has to wait for them."""

import os
import sys
from threading import get_native_id


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def give_way(niceness: int) -> None:
    """Let this thread, and those that it starts, compute in what time the others leave: their `niceness` grows by this.

    Linux cuts it at 19; elsewhere, where threads have no niceness of their own, nothing changes.
    """
    if sys.platform == "linux":
        thread = get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + niceness)
