"""Runs measured in alternation (A B A B), so that a temporary slowdown of the machine affects all of them."""

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
    """Return the result of each run in the last round, and all seconds [rounds, runs], which stderr shows too."""
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
    """Return the pairs per second of the additional pairs of the larger of two runs, each given as (pairs, seconds).

    Start-up and shutdown take the same time in both and cancel out. None if the larger run took no longer.
    """
    pairs, seconds = more[0] - fewer[0], more[1] - fewer[1]
    return round(pairs / seconds, 2) if seconds > 0 else None
