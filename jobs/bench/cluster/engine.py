"""An engine that only sleeps, and what it notes down about it: one line per batch in a file per engine."""

import os
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import sleep, time
from typing import NamedTuple

import numpy as np

from rerank.encoding.pairs import EncodedPairs
from rerank.engines import Scores

_POLL_S = 0.02


@dataclass
class SleepingEngine:
    """An engine that scores `rate` pairs per second and needs no CPU for it.

    Engines begin together: the first call waits until `engines` of them have noted in `folder` that they were called.
    """

    folder: Path
    engines: int
    rate: float
    lanes: None = None
    _name: str = field(default="", init=False)

    def score(self, pairs: EncodedPairs) -> Scores:
        """Sleep as long as the pairs would take; return a logit for each pair."""
        self._wait_for_others()
        began = time()
        sleep(len(pairs) / self.rate)
        with (self.folder / self._name).open("a", encoding="utf-8") as lines:
            lines.write(f"{began} {time()} {len(pairs)}\n")
        return Scores(-np.arange(len(pairs), dtype=np.float32), int(pairs.lengths.sum()))

    def _wait_for_others(self) -> None:
        if not self._name:
            self._name = f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
            (self.folder / self._name).touch()
            while len(list(self.folder.iterdir())) < self.engines:
                sleep(_POLL_S)

    @property
    def description(self) -> dict[str, str]:
        """The name of the engine."""
        return {"engine": "sleeping"}


class Batch(NamedTuple):
    """When a batch began and ended, in seconds since 1970, and how many pairs it had."""

    began: float
    ended: float
    pairs: int


def read_batches(folder: Path) -> list[list[Batch]]:
    """Return the batches of each engine that noted them in `folder`."""
    return [
        [Batch(float(began), float(ended), int(pairs)) for began, ended, pairs in map(str.split, lines)]
        for path in sorted(folder.iterdir())
        if (lines := path.read_text(encoding="utf-8").splitlines())
    ]


@dataclass(frozen=True, slots=True)
class Throughput:
    """Pairs per second while all engines had work, and until the last one had ended; efficiencies of 1 are linear.

    `began` and `ended` enclose the time in which all engines had work.
    """

    pairs_per_second: float
    efficiency: float
    with_tail: float
    efficiency_with_tail: float
    began: float
    ended: float


def throughput(engines: Sequence[Sequence[Batch]], rate: float) -> Throughput:
    """Return the throughput of engines that can score `rate` pairs per second each.

    It is measured from the last engine's first batch to the first engine's last one: neither the start of the processes
    nor the tail counts, for both are the same however long a job is.
    """
    began = max(batches[0].began for batches in engines)
    ended = min(batches[-1].ended for batches in engines)
    last = max(batches[-1].ended for batches in engines)
    inside = sum(_pairs_between(batch, began, ended) for batches in engines for batch in batches) / (ended - began)
    whole = sum(_pairs_between(batch, began, last) for batches in engines for batch in batches) / (last - began)
    most = rate * len(engines)
    return Throughput(inside, inside / most, whole, whole / most, began, ended)


def _pairs_between(batch: Batch, start: float, stop: float) -> float:
    overlap = max(0.0, min(batch.ended, stop) - max(batch.began, start))
    return batch.pairs * overlap / (batch.ended - batch.began)
