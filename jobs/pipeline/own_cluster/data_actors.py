"""Run Ray Data without the three actors that it keeps for itself, on a cluster that has one node and one job."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any
from uuid import uuid4

import ray

from jobs.pipeline.own_cluster.replaced import replaced


@contextmanager
def no_data_actors() -> Iterator[None]:
    """While the block runs, Ray Data's own actors are answered for in this process, which is connected to a cluster.

    Each of them is a process that imports Ray Data, which takes a second of processor time, and half a percent of a
    core from then on. One shares the resources of a cluster out among jobs, one knows on which node an actor is, and
    one has metrics for the dashboard; a cluster of our own has one job, one node and no dashboard.

    All of this is private to Ray. A version that has other names for it starts what it always starts.
    """
    stand_in = StandIn({node["NodeID"]: node["Resources"] for node in ray.nodes()})
    with (
        replaced(_internal("stats"), "get_or_create_stats_actor", lambda: stand_in),
        replaced(
            _internal("cluster_autoscaler.default_autoscaling_coordinator"),
            "get_or_create_autoscaling_coordinator",
            lambda: stand_in,
        ),
        replaced(_internal("execution.node_trackers.actor_location"), "ActorLocationTracker", stand_in),
    ):
        yield


def _internal(name: str) -> ModuleType | None:
    """Return a module of Ray Data, None if this version does not have it."""
    try:
        return import_module(f"ray.data._internal.{name}")
    except ImportError:
        return None


class StandIn:
    """Looks like the class of these actors, and like a handle of each of them. A copy in a worker knows nothing."""

    def __init__(self, resources: Mapping[str, Mapping[str, float]] | None = None) -> None:
        """`resources` are those that the job may use, by node."""
        self._answers: dict[str, Callable[..., Any]] = {
            "gen_dataset_id": lambda: uuid4().hex,
            "get_reserved_resources": lambda _requester: resources,
            "get_actor_locations": lambda _actors: {},  # Ray Data then believes what each actor said when it started
        }

    def options(self, **_: Any) -> "StandIn":
        """Return the class."""
        return self

    def remote(self) -> "StandIn":
        """Return the handle."""
        return self

    def __getattr__(self, name: str) -> "_Method":
        if name.startswith("_"):  # pickle asks for such names
            raise AttributeError(name)
        return _Method(self._answers.get(name))

    def __reduce__(self) -> "tuple[type[StandIn], tuple[()]]":
        return StandIn, ()


class _Method:
    """A method of such an actor: it answers at once, or it tells the actor something and nobody listens."""

    def __init__(self, answer: Callable[..., Any] | None) -> None:
        self._answer = answer

    def remote(self, *args: Any, **options: Any) -> "ray.ObjectRef[Any] | None":
        return ray.put(self._answer(*args, **options)) if self._answer else None
