"""What a person sees while a job runs: a bar on a terminal, a line every ten seconds on a pipe."""

import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event, Thread
from time import monotonic

from ray.exceptions import RayError
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from jobs.console import plural, say
from jobs.pipeline.counts import Counts, CountsReporter

_BAR_SECONDS = 0.5
_LINE_SECONDS = 10.0
_WINDOW_SECONDS = 60.0  # the rate is that of the last minute


@contextmanager
def progress(reporter: CountsReporter, *, total_pairs: int) -> Iterator[None]:
    """Show on stderr what was reported, while the block runs."""
    reporter.expect(total_pairs)
    stop = Event()
    show = _show_bar if sys.stderr.isatty() else _show_lines
    thread = Thread(target=show, args=(reporter, total_pairs, stop), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@dataclass(slots=True)
class ProgressState:
    """How far a run is. `done` never falls and never passes `total`, whatever is scored again."""

    total: int
    done: int = 0
    rejected: int = 0
    pairs_per_second: float | None = None  # None while there is nothing to estimate it from
    is_loading: bool = True
    stage_pairs: list[int] = field(default_factory=list)  # that each stage of a cascade saw
    _samples: deque[tuple[float, int]] = field(default_factory=deque)  # (time, pairs done), oldest first

    def update(self, counts: Counts, now: float) -> None:
        """Take in what was reported until `now`, in seconds of a clock that never stands back."""
        self.done = max(self.done, min(counts.done, self.total))
        self.rejected = max(self.rejected, counts.rejected)
        self.stage_pairs = counts.stage_pairs
        if counts.scoring_seconds is not None:
            self.is_loading = False
            if not self._samples:
                self._samples.append((now - counts.scoring_seconds, min(counts.done_before_scoring, self.done)))
        elif self.done:
            self.is_loading = False
        if self._samples or self.done:
            self._samples.append((now, self.done))
        self._forget(now - _WINDOW_SECONDS)
        self.pairs_per_second = self._rate()

    def __str__(self) -> str:
        parts = [f"{self.done:,} of {plural(self.total, 'pair')}"]
        if self.rejected:
            parts.append(f"{self.rejected:,} rejected")
        parts += [f"{pairs:,} in stage {stage}" for stage, pairs in enumerate(self.stage_pairs, start=1)]
        return ", ".join([*parts, *self.pace()])

    def pace(self) -> list[str]:
        """Return pairs per second and the time that is left, or why there is none yet."""
        if self.is_loading:
            return ["loading the model"]
        if self.pairs_per_second is None:
            return [] if self.done == self.total else ["estimating ..."]
        rate = f"{self.pairs_per_second:,.0f}" if self.pairs_per_second >= 10 else f"{self.pairs_per_second:.1f}"
        left = self.total - self.done
        return [f"{rate} pairs/s", *([f"{duration(left / self.pairs_per_second)} left"] if left else [])]

    def _forget(self, before: float) -> None:
        """Drop samples older than the window, but never the last one from which pairs were done since."""
        samples = self._samples
        while len(samples) > 2 and samples[1][0] <= before and samples[1][1] < self.done:
            samples.popleft()

    def _rate(self) -> float | None:
        if not self._samples:
            return None
        (since, first), (until, last) = self._samples[0], self._samples[-1]
        return (last - first) / (until - since) if last > first and until > since else None


def duration(seconds: float) -> str:
    """Return a time as a person says it: 45 s, 12 min, 3.5 h."""
    if seconds < 120:
        return f"{seconds:,.0f} s"
    return f"{seconds / 60:,.0f} min" if seconds < 7200 else f"{seconds / 3600:,.1f} h"


def _show_bar(reporter: CountsReporter, total: int, stop: Event) -> None:
    columns = (TextColumn("reranking"), BarColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("starting", total=total)
        for state in _follow(reporter, total, stop, _BAR_SECONDS):
            bar.update(task, completed=state.done, description=str(state))


def _show_lines(reporter: CountsReporter, total: int, stop: Event) -> None:
    for state in _follow(reporter, total, stop, _LINE_SECONDS):
        say(str(state))


def _follow(reporter: CountsReporter, total: int, stop: Event, seconds: float) -> Iterator[ProgressState]:
    """Yield the state of the run again and again, and once more at the end."""
    state = ProgressState(total)
    ended = False
    while not ended:
        ended = stop.wait(seconds)
        try:
            counts = reporter.counts()
        except RayError:  # the cluster is gone, and the job says so
            return
        state.update(counts, monotonic())
        yield state
