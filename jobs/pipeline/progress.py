"""What a person sees while a job runs: a bar on a terminal, a line every ten seconds on a pipe."""

import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event, Thread
from time import monotonic
from typing import Any

import pyarrow as pa
import ray
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from jobs.pipeline.writer import count

_BAR_SECONDS = 0.5
_LINE_SECONDS = 10.0
_RSS_UNIT = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, in bytes
PEAK = "peak_memory_bytes"


def peak_memory() -> int:
    """The most memory that this process has held at once, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _RSS_UNIT


class CountsActor:
    """Sums of what the workers report, and the highest peak; lives in the cluster as a Ray actor of its own."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = {}

    def add(self, counts: dict[str, float]) -> None:
        """Add the counts of one block."""
        for name, value in counts.items():
            known = self._sums.get(name, 0)
            self._sums[name] = max(known, value) if name == PEAK else known + value

    def sums(self) -> dict[str, float]:
        """What was reported until now."""
        return dict(self._sums)


@dataclass(frozen=True, slots=True)
class CountsReporter:
    """Sends counts from a worker to the tally without waiting, with the worker's own peak of memory."""

    tally: Any

    def __call__(self, counts: dict[str, float]) -> None:
        """Report these counts."""
        self.tally.add.remote({**counts, PEAK: peak_memory()})

    def block(self, ranked: pa.Table) -> None:
        """Report a ranked block; what an actor calls."""
        self(count(ranked))

    def sums(self) -> dict[str, float]:
        """What was reported until now, by this process too."""
        self({})
        sums: dict[str, float] = ray.get(self.tally.sums.remote())
        return sums


@contextmanager
def progress(*, total_pairs: int) -> Iterator[CountsReporter]:
    """Show progress on stderr while the block runs; gives what workers report to."""
    report = CountsReporter(ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(CountsActor).remote())
    stop = Event()
    show = _show_bar if sys.stderr.isatty() else _show_lines
    thread = Thread(target=show, args=(report, total_pairs, stop), daemon=True)
    thread.start()
    try:
        yield report
    finally:
        stop.set()
        thread.join()


def _show_bar(report: CountsReporter, total: int, stop: Event) -> None:
    columns = (
        TextColumn("reranking"),
        BarColumn(),
        TextColumn("{task.completed:,.0f}/{task.total:,} pairs  {task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=total, rate="loading the model")
        for done, rejected, rate in _follow(report, stop, _BAR_SECONDS):
            text = f"{rate:,.0f} pairs/s" + (f", {rejected:,} rejected" if rejected else "")
            bar.update(task, completed=done, rate=text if done else "loading the model")


def _show_lines(report: CountsReporter, total: int, stop: Event) -> None:
    for done, rejected, rate in _follow(report, stop, _LINE_SECONDS):
        left = f"{(total - done) / rate:,.0f} s left" if rate else "time left unknown"
        sys.stderr.write(
            f"reranking: {done:,} of {total:,} pairs, {rejected:,} rejected, {rate:,.0f} pairs/s, {left}\n"
        )
        sys.stderr.flush()


def _follow(report: CountsReporter, stop: Event, seconds: float) -> Iterator[tuple[int, int, float]]:
    """Pairs done, pairs rejected and pairs per second since the first report; once more at the end."""
    first: tuple[float, int] | None = None
    ended = False
    while not ended:
        ended = stop.wait(seconds)
        sums = report.sums()
        rejected = int(sums.get("pairs_rejected", 0))
        done = int(sums.get("pairs_ranked", 0)) + rejected
        if done and first is None:
            first = (monotonic(), done)
        elapsed = monotonic() - first[0] if first else 0.0
        yield done, rejected, (done - first[1]) / elapsed if first and elapsed else 0.0
