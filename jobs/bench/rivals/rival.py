"""What every rival of the scorer is: another library that scores the same pairs with the same weights."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter

Texts = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Rival:
    """Another library. `score` scores pairs and returns the tokens of these pairs and of their padding."""

    name: str
    score: Callable[[Texts], int]


def fastest_batch(score: Callable[[Texts, int], object], sample: Texts, batches: Sequence[int]) -> int:
    """Return the batch size with which `score(sample, batch)` takes the least time; the first call is not counted."""

    def seconds(batch: int) -> float:
        started = perf_counter()
        score(sample, batch)
        return perf_counter() - started

    score(sample, batches[0])
    return min(batches, key=lambda batch: min(seconds(batch) for _ in range(2)))
