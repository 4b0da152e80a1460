"""A model of a job's throughput: what a pair costs its engine, and what it costs the CPUs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True)
class JobModel:
    """The seconds that a pair costs.

    `engine_seconds`: on its engine. `waiting_seconds`: how long the engine waits for its actor. `cpu_seconds`: on a CPU
    core, in all processes together. `base_cores`: CPU cores that the processes of a cluster need for themselves.
    """

    engine_seconds: float
    waiting_seconds: float
    cpu_seconds: float
    base_cores: float = 0.0

    def pairs_per_second(self, engines: int, cores: float) -> float:
        """Return the throughput of so many engines on so many CPU cores: that of the engines, or that of the cores."""
        by_engines = engines / (self.engine_seconds + self.waiting_seconds)
        return min(by_engines, self.most_pairs_per_second(cores))

    def most_pairs_per_second(self, cores: float) -> float:
        """Return the throughput above which these cores cannot feed more engines."""
        return max(0.0, cores - self.base_cores) / self.cpu_seconds

    def cores_needed(self, engines: int) -> float:
        """Return the CPU cores that keep so many engines busy."""
        return self.base_cores + engines * self.cpu_seconds / (self.engine_seconds + self.waiting_seconds)


def fit(rows: Sequence[dict[str, Any]], rate: float) -> JobModel:
    """Return the model of these measurements, of engines that score `rate` pairs per second.

    An engine waits as long as in the measurement with the fewest engines. CPU seconds are the slope of the cores in use
    over the throughput, and base cores what is left at none.
    """
    first = min(rows, key=lambda row: row["engines"])
    waiting = max(0.0, first["engines"] / first["pairs_per_second"] - 1 / rate)
    rates = np.array([row["pairs_per_second"] for row in rows])
    cores = np.array([row["cores"] for row in rows])
    slope, base = np.polyfit(rates, cores, 1) if len(rows) > 1 else (cores[0] / rates[0], 0.0)
    if base < 0:
        slope, base = float(cores @ rates / (rates @ rates)), 0.0
    return JobModel(1 / rate, waiting, float(slope), float(base))
