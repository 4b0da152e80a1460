"""CPU seconds of this process and all below it, and of the machine, sampled while something runs. Linux only."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from time import process_time, time
from typing import NamedTuple

import numpy as np

from jobs.bench.memory import descendants
from rerank.errors import ConfigError

_PERIOD_S = 2.0
_PROC = Path("/proc")


class CpuSample(NamedTuple):
    """CPU seconds until this time: of our processes, of all processes of the machine, and of this process alone."""

    at: float
    ours: float
    machine: float
    driver: float


class CpuUse(NamedTuple):
    """CPU cores in use, on average: by our processes, by the other ones of the machine, and by this process alone."""

    ours: float
    others: float
    driver: float


@contextmanager
def sampled_cpu() -> Iterator[list[CpuSample]]:
    """Yield a list that grows by a sample every two seconds. Raises ConfigError outside Linux."""
    if not (_PROC / "self" / "stat").exists():
        raise ConfigError("CPU seconds can only be measured on Linux: this system has no /proc/PID/stat")
    samples: list[CpuSample] = []
    is_over = Event()

    def sample() -> None:
        ended: dict[int, float] = {}  # the last value of each process, for one that ends must not take it away
        while not is_over.is_set():
            ended |= {pid: _cpu_seconds(pid, ended.get(pid, 0.0)) for pid in {os.getpid(), *descendants(os.getpid())}}
            samples.append(CpuSample(time(), sum(ended.values()), _machine_seconds(), process_time()))
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
    at, *columns = (np.array(column) for column in zip(*samples, strict=True))
    ours, machine, driver = (
        float(np.diff(np.interp([began, ended], at, column))[0]) / (ended - began) for column in columns
    )
    return CpuUse(ours, max(0.0, machine - ours), driver)


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
