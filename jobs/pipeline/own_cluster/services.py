"""Start a Ray cluster for one job with the services that it needs, and no others."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partialmethod
from inspect import signature
from typing import Any

from ray._private import parameter, services

from jobs.pipeline.own_cluster.replaced import replaced

# What `ray start` calls --no-monitor and --include-log-monitor; `ray.init` has no such options.
_FEWER_PROCESSES = {"no_monitor": True, "include_log_monitor": False}


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
    init = parameter.RayParams.__init__
    with ExitStack() as replacing:
        if _FEWER_PROCESSES.keys() <= signature(init).parameters.keys():
            fewer = partialmethod(init, **_FEWER_PROCESSES)
            replacing.enter_context(replaced(parameter.RayParams, "__init__", fewer))
        if os.environ.get("RAY_USAGE_STATS_ENABLED") != "1":
            replacing.enter_context(replaced(services, "start_api_server", _start_no_server))
        yield


def _start_no_server(*_args: Any, **_options: Any) -> tuple[None, None]:
    """Return what Ray's function returns where it could not start the server."""
    return None, None
