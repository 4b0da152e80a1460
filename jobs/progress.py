"""What a person sees while a job runs: a bar on a terminal, a line every ten seconds on a pipe."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event, Thread
from time import monotonic
from typing import Any

import pyarrow as pa
import ray
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from jobs.sink import count

_BAR_SECONDS = 0.5
_LINE_SECONDS = 10.0


class Tally:
    """Sums of what the actors report; lives in the cluster as a Ray actor of its own."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = {}

    def add(self, counts: dict[str, float]) -> None:
        """Add the counts of one block."""
        for name, value in counts.items():
            self._sums[name] = self._sums.get(name, 0) + value

    def sums(self) -> dict[str, float]:
        """What was reported until now."""
        return dict(self._sums)


@dataclass(frozen=True, slots=True)
class ReportBlock:
    """Called by an actor with each ranked block; sends its counts to the tally without waiting."""

    tally: Any

    def __call__(self, ranked: pa.Table) -> None:
        """Report one block."""
        self.tally.add.remote(count(ranked))


@contextmanager
def progress(*, total_pairs: int) -> Iterator[Callable[[pa.Table], None]]:
    """Show progress on stderr while the block runs; gives what to pass to the actors."""
    tally = ray.remote(num_cpus=0)(Tally).remote()
    stop = Event()
    show = _show_bar if sys.stderr.isatty() else _show_lines
    thread = Thread(target=show, args=(tally, total_pairs, stop), daemon=True)
    thread.start()
    try:
        yield ReportBlock(tally)
    finally:
        stop.set()
        thread.join()
        ray.kill(tally)


def _show_bar(tally: Any, total: int, stop: Event) -> None:
    columns = (
        TextColumn("reranking"),
        BarColumn(),
        TextColumn("{task.completed:,.0f}/{task.total:,} pairs  {task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=total, rate="loading the model")
        for done, rejected, rate in _follow(tally, stop, _BAR_SECONDS):
            text = f"{rate:,.0f} pairs/s" + (f", {rejected:,} rejected" if rejected else "")
            bar.update(task, completed=done, rate=text if done else "loading the model")


def _show_lines(tally: Any, total: int, stop: Event) -> None:
    for done, rejected, rate in _follow(tally, stop, _LINE_SECONDS):
        left = f"{(total - done) / rate:,.0f} s left" if rate else "time left unknown"
        sys.stderr.write(
            f"reranking: {done:,} of {total:,} pairs, {rejected:,} rejected, {rate:,.0f} pairs/s, {left}\n"
        )
        sys.stderr.flush()


def _follow(tally: Any, stop: Event, seconds: float) -> Iterator[tuple[int, int, float]]:
    """Pairs done, pairs rejected and pairs per second since the first report; once more at the end."""
    first: tuple[float, int] | None = None
    ended = False
    while not ended:
        ended = stop.wait(seconds)
        sums = ray.get(tally.sums.remote())
        rejected = int(sums.get("pairs_rejected", 0))
        done = int(sums.get("pairs_ranked", 0)) + rejected
        if done and first is None:
            first = (monotonic(), done)
        elapsed = monotonic() - first[0] if first else 0.0
        yield done, rejected, (done - first[1]) / elapsed if first and elapsed else 0.0
