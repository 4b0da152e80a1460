"""Start a Ray cluster for one job with the services that it needs, and no others."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partialmethod
from inspect import signature
from typing import Any

from ray._private import parameter, services

# What `ray start` calls --no-monitor and --include-log-monitor; `ray.init` has no such options.
_FEWER_PROCESSES = {"no_monitor": True, "include_log_monitor": False}
_START_SERVER = "start_api_server"


@contextmanager
def few_services() -> Iterator[None]:
    """While the block runs, `ray.init` starts three processes fewer, which take two seconds of a start and an end.

    - The autoscaler: the cluster has no nodes to start. `ray.shutdown` ends it after the process that it talks to, so
      that it does not end by itself: Ray waits for a second and kills it.
    - The process that copies the logs of workers to drivers that ask for them: the driver of a job does not.
    - The server of the dashboard: in a cluster without a dashboard it only reports usage, at its start and each hour,
      and `ray.init` waits for it. It is started where RAY_USAGE_STATS_ENABLED=1 asks for that.

    All of this is private to Ray. A version that has other names for it starts what it always starts.
    """
    originals: list[tuple[Any, str, Any]] = []

    def replace(owner: Any, name: str, value: Any) -> None:
        originals.append((owner, name, getattr(owner, name)))
        setattr(owner, name, value)

    init = parameter.RayParams.__init__
    if _FEWER_PROCESSES.keys() <= signature(init).parameters.keys():
        replace(parameter.RayParams, "__init__", partialmethod(init, **_FEWER_PROCESSES))
    if hasattr(services, _START_SERVER) and os.environ.get("RAY_USAGE_STATS_ENABLED") != "1":
        replace(services, _START_SERVER, lambda *_args, **_options: (None, None))  # as where it fails to start
    try:
        yield
    finally:
        for owner, name, value in originals:
            setattr(owner, name, value)
