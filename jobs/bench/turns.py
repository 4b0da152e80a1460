"""Runs in turns, A B A B: what slows the machine down for a while slows all of them down alike."""

from collections.abc import Callable, Sequence
from time import perf_counter
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from jobs.console import say

Result = TypeVar("Result")


def in_turns(
    runs: Sequence[tuple[str, Callable[[], Result]]], *, rounds: int
) -> tuple[list[Result], npt.NDArray[np.float64]]:
    """What each run gave at last, and its seconds, [rounds, runs]; each time is told on stderr."""
    seconds = np.empty((rounds, len(runs)))
    results: list[Result] = []
    for turn in range(rounds):
        results.clear()
        for place, (name, run) in enumerate(runs):
            started = perf_counter()
            results.append(run())
            seconds[turn, place] = perf_counter() - started
            say(f"round {turn + 1} of {rounds}: {name} took {seconds[turn, place]:.2f} s")
    return results, seconds


def further_rate(fewer: tuple[int, float], more: tuple[int, float]) -> float | None:
    """Pairs a second of what only the second of two runs had, each given as its pairs and seconds: their start and end,
    which are alike, fall out. None where the second took no longer.
    """
    pairs, seconds = more[0] - fewer[0], more[1] - fewer[1]
    return round(pairs / seconds, 2) if seconds > 0 else None
