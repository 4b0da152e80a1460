"""Choose pools of actors that fit on the nodes of a cluster, all at the same time. Counts on paper; asks no cluster."""

from collections.abc import Sequence
from dataclasses import replace
from math import floor

from jobs.console import plural
from jobs.pipeline.cluster.fit import all_fit, has, room, sizes_that_fit
from jobs.pipeline.cluster.nodes import Nodes, Resources
from jobs.pipeline.stages.pool import Pool, words_of
from jobs.pipeline.stages.pool_settings import ActorRange
from jobs.pipeline.stages.settings import StageConfig
from rerank.errors import ConfigError

_LOCAL_SPARE_CPUS = 2  # what a Ray on this machine has beyond its cores
_CORES_PER_CPU_ACTOR = 8
_GPU_UNITS = 10_000  # Ray counts GPUs in these
_NO_TASK: Resources = {}


def preparing(resources: Resources = _NO_TASK) -> dict[str, float]:
    """Return what a task reserves that reads or prepares: a CPU, which actors leave free, and these resources."""
    return {"CPU": 1.0, **resources}


def plan_pools(nodes: Nodes, stages: Sequence[StageConfig], *, prepare: Resources = _NO_TASK) -> list[Pool]:
    """Choose pools that run at the same time on these nodes: one actor per GPU, or per eight CPUs, by default.

    Stages on GPUs share each of them by default, those on CPUs share the CPUs. Beside the actors there is room for one
    task of each stage that prepares its input, and reserves the resources in `prepare` for that. Where an autoscaler
    may start nodes, a pool begins with the actors that have room now, and grows. Raises ConfigError if the pools do
    not fit.
    """
    tasks = [preparing(prepare)] * len(stages)
    pools = _suitable_pools(nodes, nodes.alive, stages, tasks)
    if all_fit(nodes.alive, pools, tasks):
        return pools
    if not nodes.has_autoscaler:
        raise ConfigError(_complaint(nodes.alive, pools, tasks))
    if nodes.startable:
        pools = _suitable_pools(nodes, nodes.all, stages, tasks)
        if not all_fit(nodes.all, pools, tasks):
            raise ConfigError(f"{_complaint(nodes.all, pools, tasks)} (with the nodes that its autoscaler may start)")
    elif not all_fit(nodes.alive, [replace(pool, size=1) for pool in pools], tasks):
        _check_kind_of_node(nodes, stages)
    sizes = sizes_that_fit(nodes.alive, pools, tasks)
    return [_sized(pool, size, pool.most) for pool, size in zip(pools, sizes, strict=True)]


def _suitable_pools(
    nodes: Nodes, counted: Sequence[Resources], stages: Sequence[StageConfig], tasks: Sequence[Resources]
) -> list[Pool]:
    """Return the pools, whether or not they fit. Actors on CPUs have as many as fit on the counted nodes, or one."""
    on_gpu = [_uses_gpus(stage, nodes.all) for stage in stages]
    share = floor(_GPU_UNITS / max(1, sum(on_gpu))) / _GPU_UNITS
    on_cpu = len(stages) - sum(on_gpu)
    pools = []
    for stage, uses_gpu in zip(stages, on_gpu, strict=True):
        gpus = 0.0 if not uses_gpu else share if stage.pool.gpus is None else stage.pool.gpus
        actors = stage.pool.actors or ActorRange(
            *(_default_size(stage, each, gpus, stages=len(stages), on_cpu=on_cpu) for each in (nodes.alive, nodes.all))
        )
        pools.append(_sized(Pool(1, 1, gpus, resources=stage.pool.all_resources), actors.least, actors.most))
    gpu_actors = sum(pool.size for pool in pools if pool.gpus)
    cpu_actors = sum(pool.most for pool in pools if not pool.gpus)
    free = sum(node.get("CPU", 0.0) for node in counted) - gpu_actors - len(stages) - _LOCAL_SPARE_CPUS + 1
    for count in range(max(1, int(free // max(1, cpu_actors))), 0, -1):
        pools = [pool if pool.gpus else replace(pool, cpus=count) for pool in pools]
        if all_fit(counted, pools, tasks):
            break
    return pools


def _uses_gpus(stage: StageConfig, nodes: Sequence[Resources]) -> bool:
    """Return whether the stage's actors reserve GPUs. Raises ConfigError if that contradicts its device."""
    pool, device = stage.pool, stage.scorer.device
    if pool.gpus == 0 and device.startswith("cuda"):
        raise ConfigError(f"device {device} takes a GPU, got 0 GPUs for each actor: accepted with 0 are cpu and auto")
    if pool.gpus is not None:
        return pool.gpus > 0
    if device == "auto":
        return pool.accelerator_type is not None or _total(nodes, "GPU", pool.all_resources) > 0
    return device.startswith("cuda")


def _default_size(stage: StageConfig, nodes: Sequence[Resources], gpus: float, *, stages: int, on_cpu: int) -> int:
    """Return one actor per GPU, or as many as have room on one if there is one stage; or one per eight CPUs."""
    if not gpus:
        return max(1, int(_total(nodes, "CPU", stage.pool.all_resources) / on_cpu / _CORES_PER_CPU_ACTOR))
    per_gpu = int(1 / gpus) if gpus < 1 and stages == 1 else 1
    return max(1, int(_total(nodes, "GPU", stage.pool.all_resources) / max(1, gpus)) * per_gpu)


def _total(nodes: Sequence[Resources], name: str, needed: Resources) -> float:
    """Return how much of a resource those nodes have that also have what is needed."""
    return sum(node.get(name, 0.0) for node in nodes if has(node, needed))


def _sized(pool: Pool, least: int, most: int) -> Pool:
    return replace(pool, size=least, max_size=most if most > least else None)


def _check_kind_of_node(nodes: Nodes, stages: Sequence[StageConfig]) -> None:
    """Raise ConfigError if it depends on the nodes that an autoscaler starts whether a stage runs on GPUs."""
    if any(not _uses_gpus(stage, nodes.alive) and stage.pool.gpus is None for stage in stages):
        raise ConfigError(
            "no node has room for an actor, and the autoscaler does not tell which nodes it may start: "
            "say --gpus-per-actor 1 for actors on GPUs, or 0 for actors on CPUs"
        )


def _complaint(nodes: Sequence[Resources], pools: Sequence[Pool], tasks: Sequence[Resources]) -> str:
    """Return what a cluster with these nodes lacks: GPUs, CPUs, other resources, or large enough nodes."""
    if len(pools) == 1:
        refused = f"{plural(pools[0].size, 'actor')} requested, room for {room(nodes, pools[0], tasks)}"
    else:
        refused = f"no room for {plural(len(pools), 'stage')} with {' and '.join(map(str, pools))}"
    missing = [
        f"no node has {words_of(demand)} for {user}"
        for user, demands in (("an actor", [pool.reserved for pool in pools]), ("a task that prepares", tasks))
        for demand in demands
        if len(demand.keys() - {"CPU", "GPU"}) and not any(has(node, demand) for node in nodes)
    ]
    needed = sum(pool.size * pool.gpus for pool in pools)
    if needed > (existing := _total(nodes, "GPU", {})):
        missing.append(f"{plural(needed, 'GPU')} needed, the cluster has {existing:g}")
    needed = sum(pool.size * pool.cpus for pool in pools) + len(tasks)
    if needed > (existing := _total(nodes, "CPU", {})):
        reading = "one" if len(tasks) == 1 else len(tasks)
        missing.append(f"{plural(needed, 'CPU')} needed, {reading} of them for reading, the cluster has {existing:g}")
    for pool in pools:
        eligible = _total(nodes, "GPU", pool.resources)
        if not missing and pool.resources and pool.size * pool.gpus > eligible:
            names = " and ".join(pool.resources)
            missing.append(f"{plural(pool.size * pool.gpus, 'GPU')} needed, its nodes with {names} have {eligible:g}")
    fallback = "each actor must fit on one node, and one CPU must stay free for each stage's reading"
    return f"{refused}: {'; '.join(missing) or fallback}"
