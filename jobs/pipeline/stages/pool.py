"""A pool of actors on a cluster: how many there are, and what each of them reserves."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from jobs.console import plural


@dataclass(frozen=True, slots=True)
class Pool:
    """How many actors to run, and what each of them reserves on the cluster: CPUs, GPUs, and custom resources.

    It begins with `size` actors, and grows to `max_size` while there is work and room; None: it does not grow.
    """

    size: int
    cpus: float
    gpus: float
    max_size: int | None = None
    resources: Mapping[str, float] = field(default_factory=dict)

    @property
    def most(self) -> int:
        """Return how many actors it may have."""
        return self.max_size or self.size

    @property
    def reserved(self) -> dict[str, float]:
        """Return what each actor reserves, as Ray names it."""
        counted = {"CPU": self.cpus, "GPU": self.gpus, **self.resources}
        return {name: amount for name, amount in counted.items() if amount}

    def __str__(self) -> str:
        actors = plural(self.size, "actor") if self.max_size is None else f"{self.size:,} to {self.max_size:,} actors"
        return f"{actors} with {words_of(self.reserved)}{' each' if self.most > 1 else ''}"


def words_of(resources: Mapping[str, float]) -> str:
    """Return resources in words: 1 CPU, 0.5 GPUs and 0.001 accelerator_type:L4."""
    words = [
        plural(amount, name) if name in ("CPU", "GPU") else f"{amount:g} {name}" for name, amount in resources.items()
    ]
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
