"""The Ray cluster that a job runs on: connecting without noise, and whether the pool fits."""

import logging
import os
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from time import monotonic, sleep

import ray
from ray.exceptions import AuthenticationError
from ray.util.annotations import RayDeprecationWarning

from jobs.pipeline.dataset import Pool
from rerank.engines.device.cores import available_cores
from rerank.errors import ConfigError, UnavailableError

_READING_CPUS = 1  # what reading and writing need beside the pool
_LOCAL_SPARE_CPUS = 2  # logical CPUs beyond the cores of this machine, for stages that mostly wait
_CORES_PER_CPU_ACTOR = 8
_PATIENCE_S = 120.0
_POLL_S = 0.5

Resources = Mapping[str, float]


def connect(*, address: str | None, verbose: bool) -> None:
    """Join the cluster at `address` or in RAY_ADDRESS, else start one on this machine for this process alone."""
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    level = logging.INFO if verbose else logging.CRITICAL  # what is an error reaches us as an exception
    if not verbose:
        warnings.filterwarnings("ignore", category=RayDeprecationWarning)
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(level)
    local = (
        {"num_cpus": available_cores() + _LOCAL_SPARE_CPUS, "include_dashboard": False} if address == "local" else {}
    )
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # Ray's own advice against a FutureWarning
    try:
        with nullcontext() if verbose else _silent_core():
            ray.init(address=address, log_to_driver=verbose, logging_level=level, **local)
    except (ConnectionError, AuthenticationError) as problem:
        raise ConfigError(f"no Ray cluster answers at {address!r}: {_why(problem)}") from problem
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = verbose
    context.print_on_execution_start = verbose


def _why(problem: ConnectionError | AuthenticationError) -> str:
    """Return why a cluster did not let us in, and what to set: Ray says the same of a wrong address and no token."""
    reason = problem.message if isinstance(problem, AuthenticationError) else str(problem).rstrip(".")
    token = "the cluster's token in RAY_AUTH_TOKEN or ~/.ray/auth_token (`ray get-auth-token` prints it on the head)"
    if os.environ.get("RAY_AUTH_MODE", "").lower() == "token":
        return f"{reason}; put {token}"
    return f"{reason}; if it asks for a token, set RAY_AUTH_MODE=token and put {token}"


@contextmanager
def _silent_core() -> Iterator[None]:
    """Keep Ray's C++ core from writing to our stderr: errors reach Python as exceptions.

    It warns of every actor with a large argument, and announces on the way that it was told not to.
    """
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def disconnect() -> None:
    """Leave the cluster, and end it if `connect` started it."""
    with suppress(Exception):
        ray.shutdown()


def choose_pool(*, actors: int | None, device: str) -> Pool:
    """The pool that suits the cluster; see `plan_pool`."""
    return plan_pool([node["Resources"] for node in ray.nodes() if node["Alive"]], actors=actors, device=device)


def plan_pool(nodes: Sequence[Resources], *, actors: int | None, device: str) -> Pool:
    """The pool that suits nodes with these resources: an actor per GPU, else one per eight cores.

    Raises ConfigError with a count of what is missing when the actors, or the tasks that read, have no place.
    """
    cpus, gpus = (sum(node.get(name, 0.0) for node in nodes) for name in ("CPU", "GPU"))
    if device.startswith("cuda") or (device == "auto" and gpus):
        pool = Pool(size=actors or max(1, int(gpus)), cpus=1, gpus=1)
    else:
        size = actors or max(1, int(cpus) // _CORES_PER_CPU_ACTOR)
        wanted = max(1, int(cpus - _READING_CPUS - _LOCAL_SPARE_CPUS + 1) // size)
        pools = (Pool(size=size, cpus=count, gpus=0) for count in range(wanted, 0, -1))
        pool = next((pool for pool in pools if _room(nodes, pool) >= size), Pool(size=size, cpus=1, gpus=0))
    room = _room(nodes, pool)
    if room < pool.size:
        short = []
        if pool.size * pool.gpus > gpus:
            short.append(f"{pool.size * pool.gpus:g} GPUs, the cluster has {gpus:g}")
        if pool.size * pool.cpus + _READING_CPUS > cpus:
            needed = pool.size * pool.cpus + _READING_CPUS
            short.append(f"{needed:g} CPUs with those that read, the cluster has {cpus:g}")
        missing = " and ".join(short) or f"whole nodes, and those of the cluster have room for {room}"
        raise ConfigError(f"{pool.size} actors need {missing}")
    return pool


def _room(nodes: Sequence[Resources], pool: Pool) -> int:
    """How many of the pool's actors fit on the nodes while one of them has a CPU left for reading."""

    def fit(node: Resources, reading: float) -> int:
        by_cpu = int((node.get("CPU", 0.0) - reading) // pool.cpus)
        return max(0, min(by_cpu, int(node.get("GPU", 0.0) // pool.gpus)) if pool.gpus else by_cpu)

    total = sum(fit(node, 0) for node in nodes)
    lost = (fit(node, 0) - fit(node, _READING_CPUS) for node in nodes if node.get("CPU", 0.0) >= _READING_CPUS)
    return total - min(lost, default=total)


def wait_for_room(pool: Pool, *, patience_s: float = _PATIENCE_S) -> None:
    """Wait until one actor of the pool can start beside a task that reads; Ray itself would wait without a word.

    Raises UnavailableError with a count of what is free when other jobs keep it for longer than `patience_s`.
    """
    needed = {"CPU": pool.cpus + _READING_CPUS, "GPU": pool.gpus}
    deadline = monotonic() + patience_s
    while True:
        free = ray.available_resources()
        short = [
            f"{count:g} {name}s, {free.get(name, 0):g} free"
            for name, count in needed.items()
            if free.get(name, 0) < count
        ]
        if not short:
            return
        if monotonic() > deadline:
            raise UnavailableError(
                f"other jobs keep the cluster: one actor and a task that reads need {' and '.join(short)}"
            )
        sleep(_POLL_S)
