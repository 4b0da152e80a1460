"""The Ray cluster that a job runs on: connect to it quietly, and choose a pool of actors that fits on it."""

import logging
import os
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from math import floor
from pathlib import Path
from time import monotonic, sleep

import ray
from ray._private.authentication.authentication_token_setup import ensure_token_if_auth_enabled
from ray._private.authentication.authentication_utils import is_token_auth_enabled
from ray._raylet import GcsClient  # type: ignore[attr-defined] # Ray's stub leaves it out
from ray.exceptions import AuthenticationError, RpcError
from ray.util.annotations import RayDeprecationWarning

from jobs.console import plural
from jobs.pipeline.dataset import Pool
from jobs.pipeline.stages.settings import StageConfig
from rerank.engines.device.cores import available_cores
from rerank.errors import ConfigError, UnavailableError

_READING_CPUS = 1  # kept free of actors, for the tasks that read
_LOCAL_SPARE_CPUS = 2  # logical CPUs beyond the cores of this machine, for stages that mostly wait for I/O
_CORES_PER_CPU_ACTOR = 8
_GPU_UNITS = 10_000  # Ray counts GPUs in these
_PATIENCE_S = 120.0
_POLL_S = 0.5
_PUT_TOKEN = "put the token that `ray get-auth-token` prints on the head in RAY_AUTH_TOKEN or ~/.ray/auth_token"

Resources = Mapping[str, float]


def connect(*, address: str | None, verbose: bool, stages: int = 1) -> None:
    """Connect to the cluster at `address` or RAY_ADDRESS; without either, start one on this machine for this process.

    It then has room for a job of so many stages. Raises ConfigError if no cluster answers or lets us in.
    """
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    level = logging.INFO if verbose else logging.CRITICAL  # errors reach us as exceptions
    if not verbose:
        warnings.filterwarnings("ignore", category=RayDeprecationWarning)
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(level)
    cpus = available_cores() + _LOCAL_SPARE_CPUS + 2 * (stages - 1)  # an actor and a task that prepares, for each more
    local = {"num_cpus": cpus, "include_dashboard": False} if address == "local" else {}
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # what Ray's FutureWarning advises
    try:
        with nullcontext() if verbose else _silent_core():
            _check_access(address)
            ray.init(address=address, log_to_driver=verbose, logging_level=level, **local)
    except AuthenticationError as problem:
        raise ConfigError(f"{problem.message}: {_PUT_TOKEN}") from problem
    except (ConnectionError, RpcError) as problem:
        raise ConfigError(f"no Ray cluster answers at {address!r}: {str(problem).rstrip('.')}") from problem
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = verbose
    context.print_on_execution_start = verbose
    context.raise_original_map_exception = True  # Ray would wrap it in one of its own, which loses it on the way


def _check_access(address: str) -> None:
    """Ask the cluster at `address` whether it lets us in. Raises ConfigError that says what to set if it does not.

    `ray.init` tries 20 times, which takes up to a quarter of an hour, and then does not say that a token is missing.
    """
    if address in ("local", "auto") or "://" in address:
        return
    ensure_token_if_auth_enabled(create_token_if_missing=False)  # the client would abort a process without a token
    try:
        GcsClient(address=address)
    except AuthenticationError as problem:
        if is_token_auth_enabled():
            raise ConfigError(f"the Ray cluster at {address!r} refuses this token: {_PUT_TOKEN}") from problem
        raise ConfigError(
            f"the Ray cluster at {address!r} asks for a token: set RAY_AUTH_MODE=token and {_PUT_TOKEN}"
        ) from problem
    except ValueError as problem:
        raise ConfigError(f"address of a Ray cluster must be HOST:PORT, got {address!r}") from problem


@contextmanager
def _silent_core() -> Iterator[None]:
    """Silence Ray's C++ core on our stderr: its errors reach Python as exceptions.

    It warns about every actor with a large argument, and at start it announces its log level.
    """
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    sys.stderr.flush()
    stderr = os.dup(2)
    try:
        with Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


def disconnect() -> None:
    """Disconnect from the cluster, and stop it if `connect` started it."""
    with suppress(Exception):
        ray.shutdown()


def start_ray_data() -> None:
    """Start the actors that Ray Data keeps for itself, without waiting for them.

    Ray Data starts them only when a dataset runs, and waits for the first one: a process that imports Ray Data.
    """
    with suppress(Exception):  # these functions are private; if they change, Ray Data starts its actors itself, later
        from ray.data._internal.cluster_autoscaler import get_or_create_autoscaling_coordinator
        from ray.data._internal.execution.node_trackers import get_or_create_actor_location_tracker
        from ray.data._internal.stats import get_or_create_stats_actor

        get_or_create_stats_actor()
        get_or_create_actor_location_tracker()
        get_or_create_autoscaling_coordinator()


def choose_pools(stages: Sequence[StageConfig]) -> list[Pool]:
    """Choose a pool for each stage on the connected cluster; see `plan_pool` and `plan_pools`."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if len(stages) == 1 and stages[0].gpus is None:
        return [plan_pool(nodes, actors=stages[0].actors, device=stages[0].scorer.device)]
    return plan_pools(nodes, stages)


def plan_pools(nodes: Sequence[Resources], stages: Sequence[StageConfig]) -> list[Pool]:
    """Choose pools that run at the same time on nodes with these resources.

    Stages on GPUs share each of them by default, those on CPUs share the CPUs. Each stage keeps one CPU free, for the
    tasks that read or prepare its input. Raises ConfigError if the pools do not fit.
    """
    cpus, gpus = (sum(node.get(name, 0.0) for node in nodes) for name in ("CPU", "GPU"))
    on_gpu = [
        stage.scorer.device.startswith("cuda") or (stage.scorer.device == "auto" and gpus > 0)
        if stage.gpus is None
        else stage.gpus > 0
        for stage in stages
    ]
    share = floor(_GPU_UNITS / max(1, sum(on_gpu))) / _GPU_UNITS
    on_cpu = max(1, len(stages) - sum(on_gpu))
    sizes = [
        stage.actors or max(1, int(gpus if uses_gpu else cpus / on_cpu / _CORES_PER_CPU_ACTOR))
        for stage, uses_gpu in zip(stages, on_gpu, strict=True)
    ]
    cpu_actors = sum(size for size, uses_gpu in zip(sizes, on_gpu, strict=True) if not uses_gpu)
    free = cpus - (sum(sizes) - cpu_actors) - len(stages) * _READING_CPUS - _LOCAL_SPARE_CPUS + 1
    for count in range(max(1, int(free // max(1, cpu_actors))), 0, -1):
        pools = [
            Pool(size, 1, share if stage.gpus is None else stage.gpus) if uses_gpu else Pool(size, count, 0)
            for stage, size, uses_gpu in zip(stages, sizes, on_gpu, strict=True)
        ]
        if _all_fit(nodes, pools):
            return pools
    needed_cpus = sum(pool.size * pool.cpus for pool in pools) + len(stages) * _READING_CPUS
    needed_gpus = sum(pool.size * pool.gpus for pool in pools)
    raise ConfigError(
        f"{plural(len(stages), 'stage')} with {' and '.join(map(str, pools))} need {plural(needed_cpus, 'CPU')}, one "
        f"per stage to prepare its input, and {plural(needed_gpus, 'GPU')}; the cluster has {cpus:g} and {gpus:g} on "
        f"{plural(len(nodes), 'node')}, and each actor must fit on one node"
    )


def _all_fit(nodes: Sequence[Resources], pools: Sequence[Pool]) -> bool:
    """Return whether all actors fit on the nodes at once, and beside them a task for each pool that prepares."""
    free = [[node.get("CPU", 0.0), node.get("GPU", 0.0)] for node in nodes]
    actors = [(pool.gpus, pool.cpus) for pool in pools for _ in range(pool.size)]
    for gpus, cpus in [*sorted(actors, reverse=True), *([(0.0, float(_READING_CPUS))] * len(pools))]:
        # On the node with the fewest GPUs and CPUs that has room: the others stay free for larger actors.
        node = min((node for node in free if node[0] >= cpus and node[1] >= gpus), key=lambda n: n[::-1], default=None)
        if node is None:
            return False
        node[0] -= cpus
        node[1] -= gpus
    return True


def plan_pool(nodes: Sequence[Resources], *, actors: int | None, device: str) -> Pool:
    """Choose a pool for nodes with these resources: one actor per GPU, or one per eight CPUs where there is no GPU.

    Raises ConfigError that counts what is missing if the actors and a task that reads do not fit.
    """
    cpus, gpus = (sum(node.get(name, 0.0) for node in nodes) for name in ("CPU", "GPU"))
    if device.startswith("cuda") or (device == "auto" and gpus):
        pool = Pool(size=actors or max(1, int(gpus)), cpus=1, gpus=1)
    else:
        size = actors or max(1, int(cpus) // _CORES_PER_CPU_ACTOR)
        most_cpus = max(1, int(cpus - _READING_CPUS - _LOCAL_SPARE_CPUS + 1) // size)
        pools = (Pool(size=size, cpus=count, gpus=0) for count in range(most_cpus, 0, -1))
        pool = next((pool for pool in pools if _room(nodes, pool) >= size), Pool(size=size, cpus=1, gpus=0))
    room = _room(nodes, pool)
    if room < pool.size:
        raise ConfigError(f"{plural(pool.size, 'actor')} requested, room for {room}: {_missing(pool, cpus, gpus)}")
    return pool


def _missing(pool: Pool, cpus: float, gpus: float) -> str:
    """Return what a cluster with so many CPUs and GPUs lacks for the pool: GPUs, CPUs, or large enough nodes."""
    needed_cpus, needed_gpus = pool.size * pool.cpus + _READING_CPUS, pool.size * pool.gpus
    missing = []
    if needed_gpus > gpus:
        missing.append(f"{plural(needed_gpus, 'GPU')} needed, the cluster has {gpus:g}")
    if needed_cpus > cpus:
        missing.append(f"{plural(needed_cpus, 'CPU')} needed, one of them for reading, the cluster has {cpus:g}")
    return "; ".join(missing) or "each actor must fit on one node, and one CPU must stay free for reading"


def _room(nodes: Sequence[Resources], pool: Pool) -> int:
    """Return how many of the pool's actors fit on the nodes if one CPU stays free for reading."""

    def fit(node: Resources, reading: float) -> int:
        by_cpu = int((node.get("CPU", 0.0) - reading) // pool.cpus)
        return max(0, min(by_cpu, int(node.get("GPU", 0.0) // pool.gpus)) if pool.gpus else by_cpu)

    total = sum(fit(node, 0) for node in nodes)
    displaced = (fit(node, 0) - fit(node, _READING_CPUS) for node in nodes if node.get("CPU", 0.0) >= _READING_CPUS)
    return total - min(displaced, default=total)


def wait_for_room(*pools: Pool, patience_s: float = _PATIENCE_S) -> None:
    """Wait until one actor of each pool and the tasks that feed them can start; Ray itself would wait silently.

    Raises UnavailableError that counts what is free if other jobs hold the resources for longer than `patience_s`.
    """
    needed = {
        "CPU": sum(pool.cpus + _READING_CPUS for pool in pools),
        "GPU": sum(pool.gpus for pool in pools),
    }
    waiting = "one actor and a task that reads" if len(pools) == 1 else "one actor and a task of each stage"
    deadline = monotonic() + patience_s
    while True:
        free = ray.available_resources()
        missing = [
            f"{plural(count, name)}, {free.get(name, 0):g} free"
            for name, count in needed.items()
            if free.get(name, 0) < count
        ]
        if not missing:
            return
        if monotonic() > deadline:
            raise UnavailableError(f"the cluster is in use: {waiting} need {' and '.join(missing)}")
        sleep(_POLL_S)
