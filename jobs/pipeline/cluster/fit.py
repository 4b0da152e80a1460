"""Whether actors and tasks fit on nodes at the same time, as Ray places them."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from jobs.pipeline.cluster.nodes import Resources
from jobs.pipeline.stages.pool import Pool

_UNITS = 10_000  # Ray counts resources in these; sums of fractions would not be exact
_GPU = "GPU"


def all_fit(nodes: Sequence[Resources], pools: Sequence[Pool], tasks: Sequence[Resources]) -> bool:
    """Return whether all actors of the pools and one task of each kind fit on the nodes at once."""
    free = [_Free.of(node) for node in nodes]
    actors = [pool.reserved for pool in pools for _ in range(pool.size)]
    return all(
        # On the node with the fewest GPUs and CPUs that has room: the others stay free for larger actors.
        any(node.reserve(demand) for node in sorted(free, key=_Free.size))
        for demand in [*_hardest_first(actors), *_hardest_first(tasks)]
    )


def room(nodes: Sequence[Resources], pool: Pool, tasks: Sequence[Resources]) -> int:
    """Return how many of the pool's actors fit on the nodes beside the tasks."""
    fitting, too_many = 0, pool.size + 1
    while too_many - fitting > 1:
        size = (fitting + too_many) // 2
        if all_fit(nodes, [replace(pool, size=size)], tasks):
            fitting = size
        else:
            too_many = size
    return fitting


def sizes_that_fit(nodes: Sequence[Resources], pools: Sequence[Pool], tasks: Sequence[Resources]) -> list[int]:
    """Return with how many actors each pool can begin beside the tasks, at least one; several pools begin with one."""
    return [max(1, room(nodes, pools[0], tasks))] if len(pools) == 1 else [1] * len(pools)


def has(node: Resources, demand: Resources) -> bool:
    """Return whether the node has all of these resources."""
    return all(node.get(name, 0.0) >= amount for name, amount in demand.items())


def _hardest_first(demands: Iterable[Resources]) -> list[dict[str, int]]:
    """Return the demands in units: first those for which few nodes will do, or much room is needed."""
    counted = [{name: round(amount * _UNITS) for name, amount in demand.items()} for demand in demands]
    return sorted(counted, key=lambda demand: (len(demand), demand.get(_GPU, 0), demand.get("CPU", 0)), reverse=True)


@dataclass(slots=True)
class _Free:
    """What is free on a node, in units; each GPU by itself, for an actor with less than a GPU must fit into one."""

    amounts: Counter[str]
    gpus: list[int]

    @classmethod
    def of(cls, node: Resources) -> "_Free":
        amounts = Counter({name: round(amount * _UNITS) for name, amount in node.items()})
        whole, rest = divmod(amounts.pop(_GPU, 0), _UNITS)
        return cls(amounts, [_UNITS] * whole + [rest] * bool(rest))

    def size(self) -> tuple[int, int]:
        return sum(self.gpus), self.amounts["CPU"]

    def reserve(self, demand: dict[str, int]) -> bool:
        """Reserve the demand if there is room for it; return whether there was."""
        gpus = demand.get(_GPU, 0)
        share = min(gpus, _UNITS)  # of each GPU that is taken
        suitable = sorted((left, place) for place, left in enumerate(self.gpus) if left >= share)
        taken = [place for _, place in suitable[: -(-gpus // _UNITS)]]
        others = [(name, amount) for name, amount in demand.items() if name != _GPU]
        if len(taken) * share < gpus or any(self.amounts[name] < amount for name, amount in others):
            return False
        for place in taken:
            self.gpus[place] -= share
        self.amounts.subtract(dict(others))
        return True
