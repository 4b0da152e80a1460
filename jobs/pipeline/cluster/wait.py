"""Wait until the pools of a job can start, and say for what; Ray itself would wait silently."""

from collections.abc import Sequence
from dataclasses import replace
from time import monotonic, sleep

from ray._private.state import available_resources_per_node
from ray.util.placement_group import placement_group, remove_placement_group

from jobs.console import plural, say
from jobs.pipeline.cluster.fit import all_fit, sizes_that_fit
from jobs.pipeline.cluster.nodes import Resources, cluster_nodes
from jobs.pipeline.cluster.plan import plan_pools, preparing
from jobs.pipeline.stages.pool import Pool, words_of
from jobs.pipeline.stages.settings import StageConfig
from rerank.errors import UnavailableError

IN_USE_PATIENCE_S = 120.0  # for resources that other jobs hold
NODES_PATIENCE_S = 900.0  # for nodes that an autoscaler starts: a machine, its image and its packages
_RELEASE_S = 5.0  # until Ray counts as free what a job or a task before this one held
_POLL_S = 0.5  # a signal is handled between two looks


def secure_pools(stages: Sequence[StageConfig], *, prepare: Resources, patience_s: float | None = None) -> list[Pool]:
    """Choose a pool for each stage on the connected cluster, and wait until all of them can start.

    Raises ConfigError if they do not fit, and UnavailableError if they have no room after `patience_s` seconds; None:
    a default for a cluster of a fixed size, or a longer one for a cluster whose autoscaler may start nodes.
    """
    nodes = cluster_nodes()
    pools = plan_pools(nodes, stages, prepare=prepare)
    default = NODES_PATIENCE_S if nodes.has_autoscaler else IN_USE_PATIENCE_S
    waited = wait_for_room(
        pools,
        prepare=prepare,
        patience_s=default if patience_s is None else patience_s,
        has_autoscaler=nodes.has_autoscaler,
    )
    if nodes.has_autoscaler:
        return plan_pools(cluster_nodes(), stages, prepare=prepare) if waited else pools
    return fit_pools(pools, prepare=prepare)


def fit_pools(pools: Sequence[Pool], *, prepare: Resources) -> list[Pool]:
    """Return the pools with as many actors as have room beside what others hold, at least one each, and say so.

    More of them would take what is left for the tasks that read, and the job would stand still.
    """
    tasks = [preparing(prepare)] * len(pools)
    deadline = monotonic() + _RELEASE_S
    while not all_fit(free := list(available_resources_per_node().values()), pools, tasks):
        if monotonic() > deadline:
            sizes = sizes_that_fit(free, pools, tasks)
            fitting = [replace(pool, size=size, max_size=None) for pool, size in zip(pools, sizes, strict=True)]
            say(f"others use the cluster, {_in_words(free)} free: {' and '.join(map(str, fitting))} for this job")
            return fitting
        sleep(_POLL_S)
    return list(pools)


def wait_for_room(
    pools: Sequence[Pool], *, prepare: Resources, patience_s: float, has_autoscaler: bool = False
) -> bool:
    """Wait until one actor of each pool and the tasks that feed them can start; return whether that took a wait.

    A placement group reserves room for them meanwhile: an autoscaler starts nodes for it. Raises UnavailableError that
    says what is missing after `patience_s` seconds.
    """
    demands = [*(pool.reserved for pool in pools), *[preparing(prepare)] * len(pools)]
    free = list(available_resources_per_node().values())
    if all_fit(free, [], demands):
        return False
    needed = f"{'one actor' if len(pools) == 1 else 'one actor of each stage'} and the tasks that feed it"
    missing = f"{needed} need room for {', '.join(map(words_of, demands))}; {_in_words(free)} free"
    reason = "nodes that the autoscaler starts" if has_autoscaler else "resources that are in use"
    say(f"waiting for {reason}, {plural(patience_s, 'second')} at most: {missing}")
    group = placement_group(demands, strategy="PACK")
    deadline = monotonic() + patience_s
    try:
        while not group.wait(_POLL_S):
            if monotonic() > deadline:
                blame = "the autoscaler started no suitable node" if has_autoscaler else "the cluster is in use"
                raise UnavailableError(f"{blame} within {plural(patience_s, 'second')}: {missing}")
    finally:
        remove_placement_group(group)
    return True


def _in_words(free: Sequence[Resources]) -> str:
    """Return the sums of what is free on all nodes."""
    cpus, gpus = (sum(node.get(name, 0.0) for node in free) for name in ("CPU", "GPU"))
    return f"{plural(cpus, 'CPU')} and {plural(gpus, 'GPU')} are"
