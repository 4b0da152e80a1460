"""Memory that a batch frees: whether the next one has it, and when the C library is left alone."""

import os
import platform
import subprocess
import sys

import pytest

from rerank.engines.device.allocator import keep_freed_memory

_FAULTS = """
import ctypes, resource
from concurrent.futures import ThreadPoolExecutor
import torch
from rerank.engines.device.allocator import keep_freed_memory

torch.set_num_threads(1)
thread = ThreadPoolExecutor(1)

def batch():
    states = torch.ones(2_000, 128)
    for _ in range(2):
        wide = torch.ones(2_000, 512) * states.repeat(1, 4)
        states = states + wide[:, :128]

def faults():
    thread.submit(batch).result()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        thread.submit(batch).result()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

for threshold in (-1, -3):  # as they are in a process that has freed nothing large yet
    ctypes.CDLL(None).mallopt(threshold, 128 * 1024)
print(faults(), keep_freed_memory(), faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries are left alone")
def test_pages_are_faulted_in_once_and_not_for_every_batch() -> None:
    untold = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    done = subprocess.run([sys.executable, "-c", _FAULTS], env=untold, capture_output=True, text=True, check=True)
    before, kept, after = done.stdout.split()
    assert kept == "True"
    assert int(after) < int(before) / 20, done.stdout


def test_who_told_the_c_library_something_is_obeyed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "65536")
    assert not keep_freed_memory()
