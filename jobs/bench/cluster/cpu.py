"""CPU seconds of this process and all below it, and of the machine, sampled while something runs. Linux only."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from time import time
from typing import NamedTuple

import numpy as np

from jobs.bench.memory import descendants
from rerank.errors import ConfigError

_PERIOD_S = 1.0
_PROC = Path("/proc")


class CpuSample(NamedTuple):
    """CPU seconds until this time: of our processes, and of all processes of the machine."""

    at: float
    ours: float
    machine: float


class CpuUse(NamedTuple):
    """CPU cores in use, on average: by our processes, and by the other ones of the machine."""

    ours: float
    others: float


@contextmanager
def sampled_cpu() -> Iterator[list[CpuSample]]:
    """Yield a list that grows by a sample each second. Raises ConfigError outside Linux."""
    if not (_PROC / "self" / "stat").exists():
        raise ConfigError("CPU seconds can only be measured on Linux: this system has no /proc/PID/stat")
    samples: list[CpuSample] = []
    is_over = Event()

    def sample() -> None:
        ended: dict[int, float] = {}  # the last value of each process, for one that ends must not take it away
        while not is_over.is_set():
            ended |= {pid: _cpu_seconds(pid, ended.get(pid, 0.0)) for pid in {os.getpid(), *descendants(os.getpid())}}
            samples.append(CpuSample(time(), sum(ended.values()), _machine_seconds()))
            is_over.wait(_PERIOD_S)

    thread = Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield samples
    finally:
        is_over.set()
        thread.join()


def cpu_between(samples: list[CpuSample], began: float, ended: float) -> CpuUse:
    """Return the cores that were in use between two times."""
    at, ours, machine = (np.array(column) for column in zip(*samples, strict=True))
    used = float(np.diff(np.interp([began, ended], at, ours))[0]) / (ended - began)
    of_all = float(np.diff(np.interp([began, ended], at, machine))[0]) / (ended - began)
    return CpuUse(used, max(0.0, of_all - used))


def _cpu_seconds(pid: int, otherwise: float) -> float:
    with suppress(OSError):  # the process has ended
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return otherwise


def _machine_seconds() -> float:
    user, nice, system, _idle, _iowait, irq, softirq = map(
        int, (_PROC / "stat").read_text().splitlines()[0].split()[1:8]
    )
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")
