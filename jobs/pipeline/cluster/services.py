"""The services of a Ray cluster that one job starts for itself: those that it needs, and no others."""

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
    """While the block runs, `ray.init` starts three processes less, which take it two seconds.

    - The autoscaler: it has no nodes to start. `ray.shutdown` ends it after the process that it talks to, so that it
      does not end by itself, and kills it after a second.
    - The process that copies the logs of workers to drivers that ask for them: ours does not.
    - The server of the dashboard: without a dashboard it only reports usage, each hour. It is started where
      RAY_USAGE_STATS_ENABLED=1 asks for that.

    What a version of Ray calls otherwise stays as Ray starts it.
    """
    given: list[tuple[Any, str, Any]] = []

    def give(owner: Any, name: str, value: Any) -> None:
        given.append((owner, name, getattr(owner, name)))
        setattr(owner, name, value)

    init = parameter.RayParams.__init__
    if _FEWER_PROCESSES.keys() <= signature(init).parameters.keys():
        give(parameter.RayParams, "__init__", partialmethod(init, **_FEWER_PROCESSES))
    if hasattr(services, _START_SERVER) and os.environ.get("RAY_USAGE_STATS_ENABLED") != "1":
        give(services, _START_SERVER, lambda *_args, **_options: (None, None))  # what Ray returns where it fails
    try:
        yield
    finally:
        for owner, name, value in given:
            setattr(owner, name, value)
