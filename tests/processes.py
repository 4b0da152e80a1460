"""Processes that tests start: each ends with its test, with everything that it started itself."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from jobs.bench.memory import descendants

_OF_MULTIPROCESSING = ("multiprocessing.resource_tracker", "multiprocessing.forkserver")  # end with this process


@contextmanager
def started(command: Sequence[str], **options: Any) -> Iterator[subprocess.Popen[Any]]:
    """Start a process in a process group of its own. The whole group is killed at the end of the block."""
    process = subprocess.Popen(command, start_new_session=True, **options)
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def completed(command: Sequence[str], *, timeout: float, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, as `subprocess.run` does, and leave nothing of its process group behind."""
    with started(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options) as process:
        out, err = process.communicate(timeout=timeout)
    return subprocess.CompletedProcess(command, process.returncode, out, err)


@contextmanager
def sigterm_kept() -> Iterator[None]:
    """Keep this process's handler of SIGTERM, which Ray replaces when it starts."""
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, handler)


def surviving(folder: str, *, patience_s: float) -> dict[int, str]:
    """Return process ids and command lines of processes of this session that do not end within `patience_s`.

    These are the descendants of this process, and those that lost their parent but have RAY_TMPDIR=`folder` in their
    environment or a file in it open, as all processes of Ray have. Linux only; elsewhere none are found.
    """
    deadline = time.monotonic() + patience_s
    while True:
        commands = {pid: " ".join(words).strip() for pid, words in descendants(os.getpid()).items()}
        for path in Path("/proc").glob("[0-9]*"):
            if path.name != str(os.getpid()) and _uses(path, folder):
                with suppress(OSError):
                    commands[int(path.name)] = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
        left = {pid: line for pid, line in commands.items() if line and not any(n in line for n in _OF_MULTIPROCESSING)}
        if not left or time.monotonic() > deadline:
            return left  # a process that has ended has no command line
        time.sleep(0.1)


def _uses(process: Path, folder: str) -> bool:
    with suppress(OSError):  # the process has ended, or is another user's
        if f"RAY_TMPDIR={folder}".encode() in (process / "environ").read_bytes():
            return True
        return any(str(file.readlink()).startswith(folder) for file in (process / "fd").iterdir())
    return False


def kill_all(processes: Sequence[int]) -> None:
    """Kill processes; those that ended meanwhile are skipped."""
    for pid in processes:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
