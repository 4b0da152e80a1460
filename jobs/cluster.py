"""The Ray cluster that a job runs on: connecting without noise, and whether the pool fits."""

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

import ray
from ray.util.annotations import RayDeprecationWarning

from jobs.pipeline import Pool
from rerank.errors import ConfigError

_READING_CPUS = 1  # what reading and writing need beside the pool
_LOCAL_SPARE_CPUS = 2  # logical CPUs beyond the cores of this machine, for stages that mostly wait
_CORES_PER_CPU_ACTOR = 8


def connect(*, address: str | None, verbose: bool) -> None:
    """Join the cluster at `address` or in RAY_ADDRESS, else start one on this machine for this process alone."""
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    level = logging.INFO if verbose else logging.ERROR
    if not verbose:
        warnings.filterwarnings("ignore", category=RayDeprecationWarning)
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(level)
    local = {"num_cpus": cores() + _LOCAL_SPARE_CPUS, "include_dashboard": False} if address == "local" else {}
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # Ray's own advice against a FutureWarning
    try:
        with nullcontext() if verbose else _silent_core():
            ray.init(address=address, log_to_driver=verbose, logging_level=level, **local)
    except ConnectionError as problem:
        raise ConfigError(f"no Ray cluster answers at {address!r}: {problem}") from problem
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = verbose
    context.print_on_execution_start = verbose


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
    """The pool that suits the cluster: an actor per GPU, else one per eight cores.

    Raises ConfigError with a count of what is missing when `actors` do not fit.
    """
    there = ray.cluster_resources()
    cpus, gpus = there.get("CPU", 0.0), there.get("GPU", 0.0)
    if device.startswith("cuda") or (device == "auto" and gpus):
        pool = Pool(size=actors or max(1, int(gpus)), cpus=1, gpus=1)
    else:
        size = actors or max(1, int(cpus) // _CORES_PER_CPU_ACTOR)
        pool = Pool(size=size, cpus=max(1.0, (cpus - _READING_CPUS - _LOCAL_SPARE_CPUS + 1) // size), gpus=0)
    short = []
    if pool.size * pool.gpus > gpus:
        short.append(f"{pool.size * pool.gpus:g} GPUs, the cluster has {gpus:g}")
    if pool.size * pool.cpus + _READING_CPUS > cpus:
        short.append(f"{pool.size * pool.cpus + _READING_CPUS:g} CPUs with those that read, the cluster has {cpus:g}")
    if short:
        raise ConfigError(f"{pool.size} actors need {' and '.join(short)}")
    return pool


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
