"""Connect to the Ray cluster that a job runs on, quietly, and disconnect."""

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

import ray
from ray._private.authentication.authentication_token_setup import ensure_token_if_auth_enabled
from ray._private.authentication.authentication_utils import is_token_auth_enabled
from ray._raylet import GcsClient  # type: ignore[attr-defined] # Ray's stub leaves it out
from ray.exceptions import AuthenticationError, RpcError
from ray.util.annotations import RayDeprecationWarning

from jobs.pipeline.own_cluster.services import few_services
from rerank.engines.device.cores import available_cores
from rerank.errors import ConfigError

_LOCAL_SPARE_CPUS = 2  # logical CPUs beyond the cores of this machine, for stages that mostly wait for I/O
_PUT_TOKEN = "put the token that `ray get-auth-token` prints on the head in RAY_AUTH_TOKEN or ~/.ray/auth_token"


def connect(*, address: str | None, verbose: bool, stages: int = 1) -> None:
    """Connect to the cluster at `address` or RAY_ADDRESS; without either, start one on this machine for this process.

    It then has room for a job of so many stages. Raises ConfigError if no cluster answers or lets us in.
    """
    address = _address_of(address)
    level = logging.INFO if verbose else logging.CRITICAL  # errors reach us as exceptions
    if not verbose:
        warnings.filterwarnings("ignore", category=RayDeprecationWarning)
    logging.getLogger("ray").setLevel(level)
    cpus = available_cores() + _LOCAL_SPARE_CPUS + 2 * (stages - 1)  # an actor and a task that prepares, for each more
    local = {"num_cpus": cpus, "include_dashboard": False} if address == "local" else {}
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # what Ray's FutureWarning advises
    try:
        with nullcontext() if verbose else _silent_core(), few_services() if local and not verbose else nullcontext():
            _check_access(address)
            ray.init(address=address, log_to_driver=verbose, logging_level=level, **local)
    except AuthenticationError as problem:
        raise ConfigError(f"{problem.message}: {_PUT_TOKEN}") from problem
    except (ConnectionError, RpcError) as problem:
        raise ConfigError(f"no Ray cluster answers at {address!r}: {str(problem).rstrip('.')}") from problem
    context = ray.data.DataContext.get_current()  # imports Ray Data, which sets the level of its messages
    logging.getLogger("ray.data").setLevel(level)
    context.enable_progress_bars = verbose
    context.print_on_execution_start = verbose
    context.raise_original_map_exception = True  # Ray would wrap it in one of its own, which loses it on the way
    context.memory_usage_poll_interval_s = None  # by a thread of each task, for statistics of Ray's that nobody reads


def is_local(address: str | None) -> bool:
    """Return whether `connect` starts a cluster on this machine for this address."""
    return _address_of(address) == "local"


def _address_of(address: str | None) -> str:
    return address or os.environ.get("RAY_ADDRESS") or "local"


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
        from ray.data._internal.cluster_autoscaler.default_autoscaling_coordinator import (
            get_or_create_autoscaling_coordinator,
        )
        from ray.data._internal.execution.node_trackers import get_or_create_actor_location_tracker
        from ray.data._internal.stats import get_or_create_stats_actor

        get_or_create_stats_actor()
        get_or_create_actor_location_tracker()
        get_or_create_autoscaling_coordinator()
