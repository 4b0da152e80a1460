"""What a person sees of a run: numbers of which each is true, from the first ten seconds on."""

import io
import sys
from collections.abc import Iterator
from threading import Event

import pytest
from ray.exceptions import RayActorError

from jobs.pipeline import progress
from jobs.pipeline.counts import Counts
from jobs.pipeline.progress import ProgressState, duration


def states(total: int, *reports: tuple[float, Counts]) -> list[str]:
    """What is shown after each of the reports, each at its time."""
    state = ProgressState(total)
    shown = []
    for now, counts in reports:
        state.update(counts, now)
        shown.append(str(state))
    return shown


def test_numbers_are_there_with_the_first_block() -> None:
    """The worker has had its model for four seconds when the first line is due."""
    assert states(
        10_000,
        (5, Counts()),
        (10, Counts(done=3_600, scoring_seconds=4)),
        (20, Counts(done=9_100, scoring_seconds=14)),
        (22, Counts(done=10_000, scoring_seconds=16)),
    ) == [
        "0 of 10,000 pairs, loading the model",
        "3,600 of 10,000 pairs, 900 pairs/s, 7 s left",
        "9,100 of 10,000 pairs, 650 pairs/s, 1 s left",
        "10,000 of 10,000 pairs, 625 pairs/s",
    ]


def test_until_there_is_something_to_estimate_from_it_says_so() -> None:
    assert states(100, (10, Counts(scoring_seconds=3)), (20, Counts(done=2, scoring_seconds=13))) == [
        "0 of 100 pairs, estimating ...",
        "2 of 100 pairs, 0.2 pairs/s, 11 min left",
    ]


def test_what_was_looked_up_before_scoring_began_is_not_taken_for_its_pace() -> None:
    assert states(10_000, (10, Counts(done=5_100, scoring_seconds=2, done_before_scoring=5_000))) == [
        "5,100 of 10,000 pairs, 50 pairs/s, 98 s left"
    ]


def test_a_run_that_looks_everything_up_loads_nothing() -> None:
    assert states(9, (1, Counts(done=3)), (2, Counts(done=6)), (3, Counts(done=9))) == [
        "3 of 9 pairs, estimating ...",
        "6 of 9 pairs, 3.0 pairs/s, 1 s left",
        "9 of 9 pairs, 3.0 pairs/s",
    ]


def test_a_run_that_ends_before_anything_was_shown_has_no_pace() -> None:
    assert states(1, (1, Counts(done=1))) == ["1 of 1 pair"]


def test_never_more_than_the_total_and_never_less_than_before() -> None:
    assert states(
        4_000,
        (10, Counts(done=2_000, rejected=7, scoring_seconds=10)),
        (20, Counts(done=500, scoring_seconds=20)),  # the counts actor was killed
        (30, Counts(done=4_400, rejected=2, scoring_seconds=30)),
    ) == [
        "2,000 of 4,000 pairs, 7 rejected, 200 pairs/s, 10 s left",
        "2,000 of 4,000 pairs, 7 rejected, 100 pairs/s, 20 s left",
        "4,000 of 4,000 pairs, 7 rejected, 133 pairs/s",
    ]


def test_the_pace_is_that_of_the_last_minute_or_of_what_was_done_last() -> None:
    reports = [(now, Counts(done=now * 10, scoring_seconds=now)) for now in range(10, 101, 10)]
    slower = [(now, Counts(done=1_000 + now, scoring_seconds=now)) for now in range(110, 301, 10)]
    assert states(2_000, *reports, *slower)[-1] == "1,300 of 2,000 pairs, 1.0 pairs/s, 12 min left"
    stuck = [(now, Counts(done=1_000, scoring_seconds=now)) for now in range(110, 1_101, 10)]
    assert states(2_000, *reports, *stuck)[-1].endswith("0.1 pairs/s, 2.8 h left")


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.2, "0 s"), (119, "119 s"), (120, "2 min"), (7_000, "117 min"), (90_000, "25.0 h")]
)
def test_durations(seconds: float, said: str) -> None:
    assert duration(seconds) == said


class Reporter:
    """Gives the counts one after another, then raises `problem`, or ends the run and gives the last ones again."""

    def __init__(self, counts: list[Counts], stop: Event, problem: Exception | None = None) -> None:
        self._counts, self._stop, self._problem = counts, stop, problem

    def counts(self) -> Counts:
        if len(self._counts) > 1 or (self._counts and self._problem):
            return self._counts.pop(0)
        if self._problem:
            raise self._problem
        self._stop.set()
        return self._counts[0]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(progress, "_LINE_SECONDS", 0)
    monkeypatch.setattr(progress, "_BAR_SECONDS", 0)
    return


@pytest.mark.usefixtures("at_once")
def test_lines_on_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    stop = Event()
    progress._show_lines(Reporter([Counts(), Counts(done=10, scoring_seconds=2)], stop), 10, stop)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "reranking: 0 of 10 pairs, loading the model"
    assert lines[1].startswith("reranking: 10 of 10 pairs, ")


@pytest.mark.usefixtures("at_once")
def test_a_cluster_that_is_gone_ends_the_lines_without_a_word(capsys: pytest.CaptureFixture[str]) -> None:
    stop = Event()
    progress._show_lines(Reporter([Counts()], stop, RayActorError()), 10, stop)
    assert capsys.readouterr().err == "reranking: 0 of 10 pairs, loading the model\n"


@pytest.mark.usefixtures("at_once")
def test_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    stop, terminal = Event(), Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    progress._show_bar(Reporter([Counts(), Counts(done=10, rejected=1, scoring_seconds=2)], stop), 10, stop)
    assert "10 of 10 pairs, 1 rejected" in terminal.getvalue()
